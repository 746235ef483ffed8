import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import type { RawEvent } from '../deliveries/github-event.js';

type Definitions = readonly { readonly name: string; readonly examples: readonly RawEvent['payload'][] }[];

/** GitHub's own examples of its webhooks: 329 payloads of 58 events, under the same delivery ids in each run. */
export function loadExamples(): readonly RawEvent[] {
  const definitions: Definitions = createRequire(import.meta.url)('@octokit/webhooks-examples');
  return definitions.flatMap(({ name, examples }) =>
    examples.map((payload, index) => ({ deliveryId: stableUuid(`${name}/${index}`), name, payload })),
  );
}

/** A UUID (version 8: made as one likes) that is always the same for a name. */
export function stableUuid(name: string): string {
  const hex = createHash('sha256').update(name).digest('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
