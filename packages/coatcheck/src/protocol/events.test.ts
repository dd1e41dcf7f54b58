import fc from "fast-check"
import { describe, expect, it } from "vitest"
import {
  eventReader,
  eventsPath,
  formatChange,
  formatOpening,
  heartbeat,
  parseEventsQuery,
  type StreamEvent,
} from "./events.ts"

/** What a reader makes of these pieces. */
function read(...pieces: readonly string[]): StreamEvent[] {
  const events: StreamEvent[] = []
  const take = eventReader((event) => events.push(event))
  for (const piece of pieces) take(piece)
  return events
}

const keys = fc.oneof(
  fc.string({ unit: "grapheme", minLength: 1 }),
  fc.constantFrom("a\nb", '"', "\\", "\u2028", "null"),
)

describe("a stream of changes", () => {
  it("comes back as it was written, in whatever pieces it arrives", () => {
    fc.assert(
      fc.property(fc.array(fc.option(keys)), fc.array(fc.nat(300)), (changes, cuts) => {
        const text =
          formatOpening({ coherent: true, heartbeat: 1_000 }) +
          changes.map((key) => formatChange(key) + heartbeat).join("")
        const places = [0, ...cuts.map((cut) => cut % (text.length + 1)).sort((a, b) => a - b), text.length]
        const pieces = places.slice(1).map((place, index) => text.slice(places[index], place))
        expect(read(...pieces)).toEqual([
          { type: "open", coherent: true, heartbeat: 1_000 },
          ...changes.flatMap((key) => [{ type: "change", key }, { type: "alive" }]),
        ])
      }),
    )
  })

  it("is read as the standard has it: line ends, blanks, comments, unknown fields and events", () => {
    expect(read('data:{"key":"a"}\r\n\r\n', ': said\n\n\nid: 7\ndata: {"key":\ndata: "b","more":1}\n\n')).toEqual([
      { type: "change", key: "a" },
      { type: "alive" },
      { type: "change", key: "b" },
    ])
    expect(
      read("event: later\ndata: whatever\n\n", "event: open\n\n", 'event: message\ndata: {"key":"c"}\n\n'),
    ).toEqual([{ type: "change", key: "c" }])
  })

  it("is given up where it is none", () => {
    const rubbish = [
      "data: <html>\n\n",
      "data: {}\n\n",
      'data: {"key":7}\n\n',
      'event: open\ndata: {"coherent":true}\n\n',
      'event: open\ndata: {"coherent":true,"heartbeat":0}\n\n',
      "x".repeat(8_193),
      `data: ${"x\ndata: ".repeat(5_000)}`,
    ]
    for (const text of rubbish)
      expect(() => read(text), text.slice(0, 60)).toThrow(/no stream of changes|Not valid JSON/)
  })

  it("takes what only says that it is coherent for what it says", () => {
    expect(read('event: open\ndata: {"coherent":"true","heartbeat":5}\n\n')).toEqual([
      { type: "open", coherent: false, heartbeat: 5 },
    ])
  })

  it("is asked for with a prefix or without", () => {
    expect(eventsPath()).toBe("/-/v1/events")
    for (const prefix of ["", "a b&c=+", "ü/…"]) {
      expect(parseEventsQuery(eventsPath(prefix).split("?")[1] ?? "")).toBe(prefix)
    }
    for (const query of ["prefix=a&prefix=b", "owner=a", "prefix=a&limit=1"]) {
      expect(() => parseEventsQuery(query), query).toThrow(/takes prefix, once/)
    }
  })
})
