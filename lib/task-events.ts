import { Observable, Subject } from 'rxjs';
import type { TaskEventKind, TaskEventMap } from './engine/task-event.js';

/**
 * What happens to tasks in this process, as observables: hot, without replay, and never completing before the
 * application ends. A subscriber that throws disturbs no task, but rxjs throws its error again on a timer, and that ends
 * the process unless somebody handles `uncaughtException`.
 */
export class TaskEvents {
  readonly #subjects = new Map<TaskEventKind, Subject<never>>();

  /** Stored and committed. A lone task may not be on the disk yet, and may start before `enqueue` resolves. */
  readonly enqueued = this.#observe('enqueued');
  /** A handler is about to be called. */
  readonly started = this.#observe('started');
  /** A handler returned, and that is recorded. */
  readonly done = this.#observe('done');
  /** An attempt failed, and the task waits for its next one. */
  readonly retrying = this.#observe('retrying');
  /** A handler asked for another attempt later, and that is recorded. */
  readonly snoozed = this.#observe('snoozed');
  /** An attempt failed, and it was the last. */
  readonly failed = this.#observe('failed');
  /** A task ended on request, or, with `reason`, because it expired. */
  readonly cancelled = this.#observe('cancelled');
  /** This process took a task from a worker that died. */
  readonly rescued = this.#observe('rescued');
  /** A task was held by `maxCrashes` workers when they died, and has failed for good; `failed` tells of it too. */
  readonly quarantined = this.#observe('quarantined');
  /** This process lost a task while it ran it: what the attempt did is not recorded. */
  readonly lost = this.#observe('lost');

  /** For the engine: tells the subscribers. */
  emit<Kind extends TaskEventKind>(kind: Kind, event: TaskEventMap[Kind]): void {
    const subject = this.#subjects.get(kind) as Subject<TaskEventMap[Kind]> | undefined;
    if (subject?.observed) subject.next(event);
  }

  /** For the engine: whether anybody wants to know. */
  observed(kind: TaskEventKind): boolean {
    return this.#subjects.get(kind)?.observed ?? false;
  }

  /** For the module: the application ends. */
  complete(): void {
    for (const subject of this.#subjects.values()) subject.complete();
  }

  #observe<Kind extends TaskEventKind>(kind: Kind): Observable<TaskEventMap[Kind]> {
    const subject = new Subject<TaskEventMap[Kind]>();
    this.#subjects.set(kind, subject as unknown as Subject<never>);
    return subject.asObservable();
  }
}
