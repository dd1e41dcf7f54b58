// Which entry of the memory store ends first: a binary heap whose items know their own place, so that moving or dropping an end
// costs a few swaps, and what has expired is found without looking at anything that has not.
//
// Rejected: a timer per entry (a million timers), a scan of the map (blocks, or misses), a heap with stale items (a session that
// is touched a thousand times would be in it a thousand times).

/** Something with an end. */
export interface Ending {
  /** Epoch ms; null: none, and then it is in no heap. */
  expiresAt: number | null
  /** Where it is in the heap, kept by the heap; -1: nowhere. */
  place: number
}

/** Items with an end, the earliest at hand. */
export interface Ends<Item extends Ending> {
  /** The item that ends first, if it has ended by now. */
  due(now: number): Item | null
  /** Puts the item in its place after its end was set, moved or cleared. */
  update(item: Item): void
  /** Takes the item out. */
  remove(item: Item): void
}

/** An empty heap of ends. */
export function ends<Item extends Ending>(): Ends<Item> {
  const heap: Item[] = []

  function due(now: number): Item | null {
    const first = heap[0]
    return first !== undefined && endOf(first) <= now ? first : null
  }

  function update(item: Item): void {
    if (item.expiresAt === null) {
      remove(item)
      return
    }
    if (item.place < 0) {
      item.place = heap.length
      heap.push(item)
    }
    settle(item)
  }

  function remove(item: Item): void {
    const place = item.place
    if (place < 0) return
    item.place = -1
    const last = heap.pop() as Item // the item itself is in the heap, so it is not empty
    if (last === item) return
    last.place = place
    heap[place] = last
    settle(last)
  }

  /** Moves an item up while it ends before its parent, else down while a child ends before it. */
  function settle(item: Item): void {
    const end = endOf(item)
    let place = item.place
    while (place > 0) {
      const parent = heap[(place - 1) >> 1] as Item // a parent's place is smaller, so it is there
      if (endOf(parent) <= end) break
      put(parent, place)
      place = (place - 1) >> 1
    }
    for (;;) {
      let at = place * 2 + 1
      let child = heap[at]
      if (child === undefined) break
      const sibling = heap[at + 1]
      if (sibling !== undefined && endOf(sibling) < endOf(child)) {
        child = sibling
        at += 1
      }
      if (endOf(child) >= end) break
      put(child, place)
      place = at
    }
    put(item, place)
  }

  function put(item: Item, place: number): void {
    heap[place] = item
    item.place = place
  }

  return { due, update, remove }
}

/** The end of an item that has one: those without are never put into the heap. */
function endOf(item: Ending): number {
  return item.expiresAt as number
}
