// The examples that run side by side, for the links between their pages. Only who starts them together knows, so it is told by the
// environment: EXAMPLES="counter=5000 values=5020".

/** An example that runs. */
export interface Neighbour {
  readonly name: string
  readonly url: string
}

/** The setting's text for examples and their ports. */
export function writeNeighbours(ports: Iterable<readonly [name: string, port: number]>): string {
  return [...ports].map(([name, port]) => `${name}=${port}`).join(" ")
}

/** The examples in the setting's text; what is none is passed over. */
export function readNeighbours(text = ""): readonly Neighbour[] {
  return [...text.matchAll(/(?<!\S)([a-z-]+)=(\d{1,5})(?!\S)/g)].map(([, name = "", port = ""]) => ({
    name,
    url: `http://localhost:${port}/`,
  }))
}
