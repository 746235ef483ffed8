import type { ClaimedTask, Lease, LeaseTerms, NewTask, Settlement, StoreHint, TaskStore } from 'nestjs-backie';
import { v7 as uuid } from 'uuid';

export const hourMs = 3_600_000;

/** A store under test, open, and what the suite needs besides its methods. */
export interface TaskStoreUnderTest {
  readonly store: TaskStore;
  /**
   * Ends the lease of a worker by the store's own clock, without waiting. Leases of other workers may lose up to half a
   * minute by it: those that are to live on are longer than that.
   */
  expireLease(workerId: string): Promise<void>;
  /** Lets time pass for the tasks of a queue, live and finished, and the leases of its workers, at once. */
  passTime(queue: string, ms: number): Promise<void>;
  dispose(): Promise<void>;
  /** Whether calls that are made at once run in parallel, so that repeating a race is worth its while. */
  readonly racing?: boolean;
}

/** Ends when `expireLease` says so. */
export const mortal: LeaseTerms = { leaseMs: 30_000, heartbeatMs: 10_000 };
/** Outlives every test. */
export const immortal: LeaseTerms = { leaseMs: 20 * 24 * 3_600_000, heartbeatMs: 10 * 24 * 3_600_000 };

/** What a settlement names. */
export type Claim = Pick<ClaimedTask, 'id' | 'queue' | 'claimSeq'>;

export function newTask(fields: Partial<NewTask> & Pick<NewTask, 'queue'>): NewTask {
  return {
    id: uuid(),
    name: 'work',
    payload: '{}',
    priority: 0,
    uniqueKey: null,
    maxRetries: null,
    timeoutMs: null,
    due: { inMs: 0 },
    ...fields,
  };
}

export function leaseOf(
  store: TaskStore,
  queues: readonly string[],
  terms = immortal,
  lost: () => void = () => {},
): Promise<Lease> {
  const worker = { id: uuid(), host: 'host', pid: 1, version: '0.0.0', queues };
  return store.lease(worker, terms, { lost, renewalFailed() {} });
}

export function finish(
  { id, queue, claimSeq }: Claim,
  how: Partial<
    Pick<Extract<Settlement, { kind: 'finish' }>, 'state' | 'keepMs' | 'attempt' | 'result' | 'deadLetter'>
  > = {},
): Settlement {
  return { kind: 'finish', id, queue, claimSeq, state: 'done', keepMs: Infinity, attempt: null, ...how };
}

export function retry(claim: Claim & { readonly attempt?: number }, delayMs: number, message = 'failed'): Settlement {
  const { id, queue, claimSeq } = claim;
  const attempt = { number: claim.attempt ?? 1, outcome: 'failed', error: { name: 'Error', message } } as const;
  return { kind: 'retry', id, queue, claimSeq, delayMs, attempt };
}

export function snooze(claim: Claim & { readonly attempt?: number }, delayMs: number): Settlement {
  const { id, queue, claimSeq } = claim;
  return { kind: 'snooze', id, queue, claimSeq, delayMs, attempt: { number: claim.attempt ?? 1, outcome: 'snoozed' } };
}

export function release({ id, queue, claimSeq }: Claim): Settlement {
  return { kind: 'release', id, queue, claimSeq };
}

/** A promise that somebody else resolves. */
export function signal(): { readonly promise: Promise<void>; resolve(): void } {
  const resolvers: (() => void)[] = [];
  const promise = new Promise<void>((resolve) => resolvers.push(resolve));
  return { promise, resolve: () => resolvers.forEach((resolve) => resolve()) };
}

/** Listens; `heard` resolves with the next hint that is like the given one. */
export async function hear(store: TaskStore) {
  const hints: StoreHint[] = [];
  const waiting = new Set<(hint: StoreHint) => void>();
  const listening = await store.listen((hint) => {
    hints.push(hint);
    for (const listener of waiting) listener(hint);
  });
  const heard = (wanted: StoreHint): Promise<void> => {
    const arrived = signal();
    waiting.add((hint) => {
      if (isLike(hint, wanted)) arrived.resolve();
    });
    return arrived.promise;
  };
  return { hints, heard, stop: () => listening.stop() };
}

/** Hints may say more than is wanted of them. */
function isLike(hint: StoreHint, wanted: StoreHint): boolean {
  return Object.entries(wanted).every(([key, value]) => (hint as Record<string, unknown>)[key] === value);
}

/** The ids of the worker's tasks that somebody wants cancelled. */
export async function cancelRequests(store: TaskStore, workerId: string): Promise<string[]> {
  const holdings = await store.holdings(workerId);
  return holdings.filter((held) => held.cancelRequested).map((held) => held.id);
}
