import type { Enqueued, TaskReason } from './task.js';

/** What identifies a task in an event; never its payload. */
export interface TaskRef {
  readonly id: string;
  readonly name: string;
  readonly queue: string;
}

/** An attempt in an event. */
export interface AttemptRef extends TaskRef {
  /** Counted from 1. */
  readonly attempt: number;
}

/** What an event says of time. */
export interface Timed {
  /** How long the handler ran, in milliseconds. */
  readonly durationMs: number;
}

/** What happens to tasks in this process, by kind. */
export interface TaskEventMap {
  /** Stored, and committed as far as this process can know. */
  enqueued: TaskRef & Pick<Enqueued, 'duplicate' | 'replaced'>;
  /** A handler is about to be called. */
  started: AttemptRef;
  /** The handler returned, and that is recorded. */
  done: AttemptRef & Timed;
  /** The attempt failed, and the task waits for its next one. */
  retrying: AttemptRef & Timed & { readonly error: unknown; readonly delayMs: number };
  /** The handler asked for another attempt later, by `snooze`. */
  snoozed: AttemptRef & Timed & { readonly delayMs: number };
  /** The attempt failed, and it was the last. */
  failed: AttemptRef & Timed & { readonly error: unknown };
  /** Ended on request, or, with this reason, since it had not started in time. */
  cancelled: TaskRef & Partial<AttemptRef> & { readonly reason?: TaskReason };
  /** This process took the task from a worker that died. */
  rescued: AttemptRef & { readonly crashes: number; readonly quarantined: boolean };
  /** The task was held by too many workers when they died: it has failed for good. Told beside `failed`. */
  quarantined: AttemptRef & { readonly crashes: number };
  /** This process lost the task while it ran it: what the attempt did is not recorded. */
  lost: AttemptRef;
}

export type TaskEventKind = keyof TaskEventMap;

/** Where the engine reports; it must not throw. */
export interface EngineReporter {
  event<Kind extends TaskEventKind>(kind: Kind, event: TaskEventMap[Kind]): void;
  /** One line for the log; never a payload. */
  log(level: 'log' | 'warn' | 'error', message: string): void;
}
