import { Backoff } from '../engine/backoff.js';
import { defaultMaxPayloadBytes } from '../engine/payload.js';
import { type Retention, RetentionMode } from '../engine/retention.js';
import type { QueueDefinition } from '../engine/task-definition.js';
import { InvalidOptionsError } from '../errors/configuration.errors.js';
import type { BackieModuleOptions, QueueOptions } from '../interfaces/backie-module-options.interface.js';
import {
  backoff,
  boolean,
  type Check,
  checkName,
  checkOptions,
  integer,
  maxNameLength,
  maxTimerMs,
  milliseconds,
  name,
  object,
  oneOf,
} from './checks.js';
import { checkRateLimit, concurrency, globalConcurrency } from './check-limits.js';
import { maxRetries, priority, timeoutMs } from './check-task-options.js';
import { defaultSchema } from '../typeorm/identifiers.js';
import { checkRetention, retention } from './check-retention.js';
import { defaultInstance } from './instance.js';

/** The module's options, checked, with every default in its place. */
export interface ResolvedOptions {
  readonly instance: string;
  readonly source: Pick<BackieModuleOptions, 'dataSource' | 'connection' | 'store' | 'embedded'>;
  readonly schema: string;
  readonly migrations: NonNullable<BackieModuleOptions['migrations']>;
  readonly connectTimeoutMs: number;
  readonly workers: boolean;
  readonly queues: readonly QueueDefinition[];
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  readonly shutdownGraceMs: number;
  readonly maxCrashes: number;
  readonly maxPayloadBytes: number;
  /** Of queues that are not configured here. */
  readonly retention: Retention;
  readonly task: {
    readonly maxRetries: number;
    readonly backoff: Backoff;
    readonly priority: number;
  };
}

const pollIntervalMs = milliseconds(10, maxTimerMs);

const interval = milliseconds(100, maxTimerMs);

const connectionCheck: Check = (value) =>
  (typeof value === 'string' && value !== '') || object(value) === undefined
    ? undefined
    : 'a postgres:// URL or TypeORM options';

/** They shape the module, which stands before a factory is asked for its options; forRoot takes them out. */
const beside: Check = () => 'given to forRoot() or forRootAsync() itself';

const moduleChecks: Record<string, Check> = {
  name: beside,
  isGlobal: beside,
  dataSource: object,
  connection: connectionCheck,
  store: object,
  embedded: object,
  schema: name(63),
  migrations: oneOf('run', 'check', 'off'),
  connectTimeoutMs: milliseconds(0, maxTimerMs),
  workers: boolean,
  queues: (value) => (Array.isArray(value) ? undefined : 'an array of { name }'),
  defaults: object,
  leaseMs: interval,
  heartbeatMs: milliseconds(10, maxTimerMs),
  shutdownGraceMs: milliseconds(0, maxTimerMs),
  maxCrashes: integer(1, 1_000_000),
  maxPayloadBytes: integer(1, 256 * 1024 * 1024),
};

const queueChecks: Record<string, Check> = {
  name: name(maxNameLength),
  concurrency,
  globalConcurrency,
  rateLimit: object,
  pollIntervalMs,
  retention,
  executionTimeoutMs: timeoutMs,
};

const defaultChecks: Record<string, Check> = {
  maxRetries,
  backoff,
  timeoutMs,
  priority,
  concurrency,
  pollIntervalMs,
  retention,
};

/**
 * Checks the options and fills in the defaults.
 *
 * @throws InvalidOptionsError
 */
export function resolveOptions(options: BackieModuleOptions, instance: string): ResolvedOptions {
  checkName("BackieModule's name", instance, maxNameLength);
  checkOptions('BackieModule', options, moduleChecks);
  checkOptions("BackieModule's defaults", options.defaults ?? {}, defaultChecks);
  checkRetention("BackieModule's defaults", options.defaults?.retention);
  checkOptions("BackieModule's embedded", options.embedded ?? {}, { dataDir: name(4_096) });
  const leaseMs = options.leaseMs ?? 30_000;
  const heartbeatMs = options.heartbeatMs ?? Math.min(10_000, leaseMs / 3);
  if (heartbeatMs > leaseMs / 2) {
    throw new InvalidOptionsError(
      `BackieModule: heartbeatMs (${heartbeatMs}) must be at most half of leaseMs (${leaseMs}), ` +
        `or one late renewal loses the lease.`,
    );
  }
  const { dataSource, connection, store, embedded } = options;
  const sources = Object.entries({ dataSource, connection, store }).filter(([, source]) => source !== undefined);
  if (sources.length > 1) {
    const given = sources.map(([key]) => key).join(' or ');
    throw new InvalidOptionsError(`BackieModule: give either ${given}, not both.`);
  }
  return {
    instance,
    source: { dataSource, connection, store, embedded },
    schema: options.schema ?? (instance === defaultInstance ? defaultSchema : `${defaultSchema}_${instance}`),
    migrations: options.migrations ?? 'run',
    connectTimeoutMs: options.connectTimeoutMs ?? 30_000,
    workers: options.workers ?? true,
    queues: resolveQueues(options),
    leaseMs,
    heartbeatMs,
    shutdownGraceMs: options.shutdownGraceMs ?? 25_000,
    maxCrashes: options.maxCrashes ?? 3,
    maxPayloadBytes: options.maxPayloadBytes ?? defaultMaxPayloadBytes,
    retention: options.defaults?.retention ?? RetentionMode.removeDone,
    task: {
      maxRetries: options.defaults?.maxRetries ?? 3,
      backoff: options.defaults?.backoff ?? Backoff.exponential(),
      priority: options.defaults?.priority ?? 0,
    },
  };
}

function resolveQueues({ queues = [], defaults = {} }: BackieModuleOptions): QueueDefinition[] {
  const named = new Map<string, QueueDefinition>();
  const withDefault = queues.some((queue) => queue?.name === 'default') ? queues : [{ name: 'default' }, ...queues];
  for (const queue of withDefault) {
    const where = whereOf(queue);
    checkOptions(where, queue, queueChecks);
    checkName("The name of one of BackieModule's queues", queue.name, maxNameLength);
    checkRetention(where, queue.retention);
    const { rateLimit } = queue;
    if (rateLimit !== undefined) checkRateLimit(where, rateLimit);
    if (named.has(queue.name)) {
      throw new InvalidOptionsError(`BackieModule: the queue ${JSON.stringify(queue.name)} is configured twice.`);
    }
    named.set(queue.name, {
      name: queue.name,
      concurrency: queue.concurrency ?? defaults.concurrency ?? 10,
      pollIntervalMs: queue.pollIntervalMs ?? defaults.pollIntervalMs ?? 1_000,
      retention: queue.retention ?? defaults.retention ?? RetentionMode.removeDone,
      executionTimeoutMs: queue.executionTimeoutMs ?? defaults.timeoutMs ?? 120_000,
      // Of a queue that they do not name, the options say nothing: another application may.
      ...(queues.includes(queue) && {
        limits: { globalConcurrency: queue.globalConcurrency ?? null, rateLimit: rateLimit ?? null },
      }),
    });
  }
  return [...named.values()];
}

/** Of what an error speaks: the queue by its name, if it has one that it may have. */
function whereOf(queue: QueueOptions | null): string {
  const problem = name(maxNameLength)(queue?.name);
  return problem ? "BackieModule's queues" : `BackieModule's queue ${JSON.stringify(queue?.name)}`;
}
