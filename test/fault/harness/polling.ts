import { setTimeout as delay } from 'node:timers/promises';

/** Looks every few milliseconds until what is seen holds; a look that throws has seen nothing. */
export async function until<Seen>(
  what: string,
  look: () => Promise<Seen> | Seen,
  holds: (seen: Seen) => boolean,
  withinMs = 30_000,
  everyMs = 50,
): Promise<Seen> {
  const giveUpAt = performance.now() + withinMs;
  let last: unknown = 'nothing';
  for (;;) {
    try {
      const seen = await look();
      if (holds(seen)) return seen;
      last = seen;
    } catch (error) {
      last = error;
    }
    if (performance.now() > giveUpAt) {
      const shown = last instanceof Error ? last.message : JSON.stringify(last);
      throw new Error(`Waited ${withinMs} ms in vain for ${what}; last seen: ${shown}`);
    }
    await delay(everyMs);
  }
}
