/** As `instanceof`, and false of what refuses to be asked: handlers may throw proxies whose traps throw. */
export function isInstance<Instance>(
  value: unknown,
  type: abstract new (...args: never[]) => Instance,
): value is Instance {
  try {
    return value instanceof type;
  } catch {
    return false;
  }
}
