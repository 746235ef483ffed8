/** Base of every error that this package throws on purpose: it names the offending thing and says the fix. */
export abstract class BackieError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** `["a", "b"]` → `"a", "b"`, for messages. */
export function quoted(names: readonly string[]): string {
  return names.map((name) => JSON.stringify(name)).join(', ');
}
