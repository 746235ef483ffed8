import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { NewTask } from './engine/task.js';
import { encodePayload, payloadKey } from './engine/payload.js';
import { InvalidOptionsError } from './errors/configuration.errors.js';
import { PayloadSchemaError } from './errors/payload.errors.js';
import type { BackgroundTaskOptions } from './interfaces/background-task-options.interface.js';
import type { EnqueueOptions } from './interfaces/enqueue-options.interface.js';
import { checkName, maxKeyLength } from './options/checks.js';
import { newTaskId } from './task-id.js';

/** The task that is enqueued: its name, and what its class declares. */
export interface TaskTarget {
  readonly name: string;
  readonly options: BackgroundTaskOptions;
  /** The priority of tasks that declare none. */
  readonly priority: number;
}

/**
 * Turns payloads into rows to be stored: validated, encoded, keyed. All of it happens before anything is written, so
 * that bad input can never leave a transaction half done.
 */
export async function prepareTasks(
  target: TaskTarget,
  payloads: readonly unknown[],
  options: EnqueueOptions,
  maxPayloadBytes: number,
): Promise<NewTask[]> {
  if (!Array.isArray(payloads)) throw new InvalidOptionsError('TaskQueue.enqueueMany: payloads must be an array.');
  const due = dueOf(options);
  const { name, options: declared } = target;
  const queue = options.queue ?? declared.queue ?? 'default';
  const priority = options.priority ?? declared.priority ?? target.priority;
  // What is not said here is the business of the process that runs it, which may have changed its mind by then.
  const maxRetries = options.maxRetries ?? null;
  const timeoutMs = options.timeoutMs === undefined ? null : Math.ceil(options.timeoutMs);
  const { schema } = declared;
  const tasks: NewTask[] = [];
  // While an asynchronous schema is waited for, the caller may use the array for something else.
  const given: unknown[] = payloads.slice();
  for (const payload of given) {
    const valid = schema ? await validated(name, schema, payload) : payload;
    const text = encodePayload(name, valid, maxPayloadBytes);
    const uniqueKey = options.uniqueKey ?? uniqueKeyOf(target, valid, text);
    tasks.push({ id: newTaskId(), payload: text, uniqueKey, name, queue, priority, maxRetries, timeoutMs, due });
  }
  return tasks;
}

async function validated(task: string, schema: StandardSchemaV1, payload: unknown): Promise<unknown> {
  const result = await schema['~standard'].validate(payload);
  if (result.issues) throw new PayloadSchemaError(task, result.issues);
  return result.value;
}

function uniqueKeyOf({ name, options: { unique } }: TaskTarget, payload: unknown, text: string): string | null {
  if (!unique) return null;
  if (unique === true) return payloadKey(name, text);
  const key: unknown = unique(payload);
  checkName(`The unique key that task ${JSON.stringify(name)} makes`, key, maxKeyLength);
  return key as string;
}

function dueOf({ delayMs, scheduledAt }: EnqueueOptions): NewTask['due'] {
  if (scheduledAt === undefined) return { inMs: delayMs ?? 0 };
  if (delayMs !== undefined) {
    throw new InvalidOptionsError('TaskQueue: give either delayMs or scheduledAt, not both.');
  }
  return { at: new Date(scheduledAt) };
}
