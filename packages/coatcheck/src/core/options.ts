// Names of settings. A compiler catches a mistyped one only where the object is written in place and in TypeScript; everywhere else
// `idel: "5m"` would leave the default standing in silence, which nobody notices until sessions end too late. So each factory
// asks here, once, when it is called.
//
// The known names are an object whose type follows the interface of the options: an option that is added to the interface and
// not to the list does not compile. All of them stand in the message; guessing which one was meant would take more code than
// reading them takes time.

/**
 * Refuses options that are no object, or that have a name nobody knows.
 *
 * @param what whose settings they are, for the message.
 * @param names every name of the options' interface.
 * @throws TypeError naming the unknown option and the known ones.
 */
export function checkOptions<Options extends object>(
  what: string,
  options: Options,
  names: Readonly<Record<keyof NoInfer<Options>, true>>,
): void {
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw new TypeError(`${what} takes an object of settings`)
  }
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(names, name))
  if (unknown === undefined) return
  throw new TypeError(`${what} knows no setting "${unknown}"; there are ${Object.keys(names).join(", ")}`)
}
