import { setTimeout as delay } from 'node:timers/promises';
import type { Fault } from './fault.js';
import { Harness, type Premises } from './harness.js';
import type { LedgerRow } from './ledger.js';
import { until } from './polling.js';

/** What came of one fault. */
export interface Verdict {
  readonly name: string;
  readonly tasks: number;
  readonly lost: number;
  /** Executions beyond the first of a task. */
  readonly duplicates: number;
  /** Executions that ended after their task had been given to another, so that their result was refused. */
  readonly staleBlocked: number;
  /** Tasks with the outcome of a claim that was not the newest, or of an execution that had not ended. */
  readonly staleWritten: number;
  /** From the end of the trouble to the last outcome. */
  readonly recoverySeconds: number;
  readonly tookSeconds: number;
  readonly notes: readonly string[];
  /** Invariants that do not hold, with what is needed to see why. */
  readonly failures: readonly string[];
  readonly skipped?: string;
}

interface Finished {
  readonly id: string;
  readonly state: string;
  readonly claim_seq: string;
  readonly finished_at: Date;
}

/** What recovery may take beyond the lease. */
const toleranceMs = 15_000;
const patienceMs = 60_000;

/** Tries one fault and checks every invariant afterwards. Never rejects: what goes wrong is in the verdict. */
export async function judge(fault: Fault, premises: Premises): Promise<Verdict> {
  const startedAt = performance.now();
  const seconds = (ms: number) => Math.round(ms / 100) / 10;
  const nothing = { tasks: 0, lost: 0, duplicates: 0, staleBlocked: 0, staleWritten: 0, recoverySeconds: 0 };
  const skipped = fault.skip?.();
  if (skipped) return { name: fault.name, ...nothing, tookSeconds: 0, notes: [], failures: [], skipped };
  const harness = await Harness.open(premises, fault.name);
  let result = nothing;
  try {
    await fault.run(harness);
    harness.progress('the trouble is over');
    result = await check(harness);
    await checkEnd(harness);
  } catch (error) {
    harness.failures.push(error instanceof Error ? (error.stack ?? error.message) : String(error));
  }
  checkProcesses(harness);
  const failures = [...harness.failures];
  if (failures.length) failures.push(...harness.apps.map((app) => `log of ${app.settings.name}:\n${tail(app.log)}`));
  await harness.close();
  const { name } = fault;
  return { name, ...result, tookSeconds: seconds(performance.now() - startedAt), notes: harness.notes, failures };
}

/** Waits until every task has its outcome, then compares outcomes, acknowledgements and the ledger. */
export async function check(harness: Harness) {
  const overAt = Math.max(performance.now(), harness.loadEndsAt);
  await Promise.race([harness.loaded, delay(overAt - performance.now() + patienceMs, undefined, { ref: false })]);
  await until(
    'the last outcome',
    () => harness.live(),
    (live) => live === 0,
    Math.max(1, overAt - performance.now() + patienceMs),
  ).catch((error: Error) => harness.failures.push(error.message));
  const recoveryMs = Math.max(0, performance.now() - overAt);
  harness.expect(
    recoveryMs <= harness.leaseMs + toleranceMs,
    `Recovery took ${recoveryMs} ms, with a lease of ${harness.leaseMs} ms.`,
  );
  const finished = await harness.sql<Finished>('SELECT id, state, claim_seq, finished_at FROM backie.finished_task');
  const executions = await harness.ledger.rows();
  const outcomes = new Map(finished.map((row) => [row.id, row]));
  harness.expect(outcomes.size === finished.length, `${finished.length - outcomes.size} tasks have two outcomes.`);
  const lost = harness.acknowledged.filter((id) => !outcomes.has(id));
  harness.expect(lost.length === 0, `${lost.length} acknowledged tasks are lost: ${lost.slice(0, 5).join(', ')}`);
  const byTask = grouped(executions);
  const staleWritten = checkOutcomes(harness, finished, byTask);
  const duplicates = executions.length - byTask.size;
  checkDuplicates(harness, duplicates, executions.filter(({ ended }) => !ended).length);
  if (harness.leasesLost > 0) harness.note(`${harness.leasesLost} leases lost`);
  const staleBlocked = executions.filter(
    ({ task_id, token, ended }) => ended && outcomes.has(task_id) && token !== outcomes.get(task_id)!.claim_seq,
  ).length;
  const recoverySeconds = Math.round(recoveryMs / 100) / 10;
  return { tasks: finished.length, lost: lost.length, duplicates, staleBlocked, staleWritten, recoverySeconds };
}

/**
 * Only trouble repeats executions. A busy machine may take a lease from a process that lives, which is trouble too, and
 * repeats what ran there.
 */
function checkDuplicates(harness: Harness, duplicates: number, cutOff: number): void {
  const { expected, leasesLost } = harness;
  const spared = leasesLost * Math.max(...harness.apps.map(({ settings }) => settings.concurrency));
  const say = (seen: number, limit = Infinity, what: string) =>
    harness.expect(seen <= limit + spared, `${seen} executions ${what}; at most ${limit} had reason to be.`);
  say(duplicates, expected.duplicates, 'were repeated');
  say(cutOff, expected.cutOff, 'were cut off');
  if (duplicates > 0) harness.note(`${duplicates} repeated: ${cutOff} cut off, the rest ended before that was written`);
}

/**
 * The outcome of a task is that of its newest claim, which ended, and which ran once.
 *
 * @returns How many have the outcome of another.
 */
function checkOutcomes(harness: Harness, finished: readonly Finished[], byTask: Map<string, LedgerRow[]>): number {
  const wrong = { state: [] as string[], neverRan: [] as string[], stale: [] as string[], twice: [] as string[] };
  for (const { id, state, claim_seq } of finished) {
    if (!harness.expected.states.includes(state)) wrong.state.push(`${id} ${state}`);
    const runs = byTask.get(id) ?? [];
    if (new Set(runs.map(({ token }) => token)).size !== runs.length) wrong.twice.push(id);
    if (state !== 'done') continue;
    if (runs.length === 0) wrong.neverRan.push(id);
    const standing = runs.find(({ token }) => token === claim_seq);
    const newer = runs.some(({ token }) => Number(token) > Number(claim_seq));
    if (runs.length > 0 && (newer || !standing?.ended)) wrong.stale.push(id);
  }
  const say = (ids: readonly string[], what: string) =>
    harness.expect(ids.length === 0, `${ids.length} tasks ${what}: ${ids.slice(0, 5).join(', ')}`);
  say(wrong.state, `ended otherwise than ${harness.expected.states.join(' or ')}`);
  say(wrong.neverRan, 'are done and have never run');
  say(wrong.stale, 'have the outcome of a claim that was not the newest, or had not ended');
  say(wrong.twice, 'ran twice under one fencing token');
  return wrong.stale.length;
}

/** Connections are back at what the living processes need, and gone when those have ended in an orderly way. */
export async function checkEnd(harness: Harness): Promise<void> {
  const living = harness.apps.filter(({ alive }) => alive);
  // Four connections a pool, and one each for LISTEN and for the lease.
  const working = 6 + harness.expected.transactionConnections;
  const baseline = living.reduce((sum, { settings }) => sum + settings.apps * (settings.workers ? working : 4), 0);
  await until(
    'the connections',
    () => harness.connections(),
    (seen) => seen <= baseline,
    10_000,
  ).catch((error: Error) => harness.failures.push(`More than ${baseline} connections. ${error.message}`));
  const mostMs = Math.max(...harness.apps.map(({ settings }) => settings.shutdownGraceMs)) + 5_000;
  const orderedAt = performance.now();
  for (const app of living) app.signal('SIGTERM');
  await Promise.race([Promise.all(living.map((app) => app.exited)), delay(mostMs + 1_000, undefined, { ref: false })]);
  const tookMs = performance.now() - orderedAt;
  harness.expect(tookMs <= mostMs, `The processes took more than ${mostMs} ms to end on SIGTERM.`);
  await until(
    'the end of the connections',
    () => harness.connections(),
    (seen) => seen <= harness.expected.leftConnections,
    5_000,
  ).catch((error: Error) => harness.failures.push(`Connections were left behind. ${error.message}`));
}

export function checkProcesses(harness: Harness): void {
  for (const { settings, troubles } of harness.apps) {
    harness.expect(troubles.length === 0, `${settings.name}: ${troubles.join('; ')}`);
  }
}

function grouped(rows: readonly LedgerRow[]): Map<string, LedgerRow[]> {
  const groups = new Map<string, LedgerRow[]>();
  for (const row of rows) groups.set(row.task_id, [...(groups.get(row.task_id) ?? []), row]);
  return groups;
}

function tail(text: string): string {
  return text.split('\n').slice(-25).join('\n');
}
