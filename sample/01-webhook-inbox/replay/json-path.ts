export type JsonObject = Readonly<Record<string, unknown>>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `path(payload, 'repository.owner.login')`, or undefined where the way ends. */
export function path(value: unknown, at: string): unknown {
  return at.split('.').reduce<unknown>((here, key) => (isJsonObject(here) ? here[key] : undefined), value);
}
