import { StoreClosedError } from '../errors/store.errors.js';
import type { Listening, StoreHint } from './store-hint.js';
import type { TaskOutcome } from './task-lookup.js';
import type { TaskStore } from './task-store.js';

/** Who waits for the end of a task. */
export interface OutcomeWatcher {
  /** Told where the task stands, whenever somebody has looked. */
  told(outcome: TaskOutcome): void;
  /** The task is not there, or no longer: then as it was seen last. */
  gone(last: TaskOutcome | undefined): void;
  failed(error: unknown): void;
}

interface Watched {
  readonly watchers: Set<OutcomeWatcher>;
  /** To be looked at next. */
  wanted: boolean;
  missing: boolean;
  last: TaskOutcome | undefined;
}

/** With hints, polling only makes good those that were lost. */
const hintedPolls = { firstMs: 1_000, longestMs: 5_000 };
const unhintedPolls = { firstMs: 100, longestMs: 1_000 };
const factor = 1.5;
const maxBatch = 1_000;
/** How long the connection that hears hints outlives the last watcher. */
const lingerMs = 5_000;

/**
 * Watches tasks until they end, whichever process works on them: woken by hints, with polling behind. All watchers of a
 * process share one statement at a time and one pace of polling, which slows down until somebody new comes.
 */
export class OutcomeWatch {
  private readonly tasks = new Map<string, Watched>();
  private looking = false;
  private scheduled = false;
  private closed = false;
  private pollMs = 0;
  private timer: NodeJS.Timeout | undefined;
  private lingering: NodeJS.Timeout | undefined;
  private listening: Promise<Listening> | undefined;
  private hinted = false;
  /** Why the store cannot be asked at the moment. */
  trouble: unknown;

  constructor(private readonly store: TaskStore) {}

  /** @returns A function that ends the watch; nothing is told after it. */
  watch(id: string, watcher: OutcomeWatcher): () => void {
    if (this.closed) {
      queueMicrotask(() => watcher.failed(new StoreClosedError()));
      return () => {};
    }
    const watched = this.tasks.get(id) ?? { watchers: new Set(), wanted: true, missing: false, last: undefined };
    this.tasks.set(id, watched);
    watched.watchers.add(watcher);
    watched.wanted = true;
    this.listen();
    this.pollMs = 0;
    this.pollLater();
    this.schedule();
    return () => {
      watched.watchers.delete(watcher);
      if (watched.watchers.size > 0 || this.tasks.get(id) !== watched) return;
      this.tasks.delete(id);
      if (this.tasks.size === 0) this.rest();
    };
  }

  /** Ends all watches: nobody will be told anything any more. */
  async close(): Promise<void> {
    this.closed = true;
    for (const { watchers } of this.tasks.values()) {
      for (const watcher of watchers) watcher.failed(new StoreClosedError());
    }
    this.tasks.clear();
    clearTimeout(this.timer);
    await this.deafen();
  }

  /** Watchers that come in the same breath share a statement, as do those that come while one is under way. */
  private schedule(): void {
    if (this.scheduled || this.looking) return;
    this.scheduled = true;
    queueMicrotask(() => {
      this.scheduled = false;
      void this.look();
    });
  }

  private async look(): Promise<void> {
    if (this.looking) return;
    this.looking = true;
    try {
      for (let ids = this.wanted(); ids.length > 0; ids = this.wanted()) await this.ask(ids);
    } finally {
      this.looking = false;
    }
  }

  private async ask(ids: readonly string[]): Promise<void> {
    try {
      const outcomes = await this.store.outcomes(ids);
      this.trouble = undefined;
      for (const id of ids) this.tell(id, outcomes.get(id));
    } catch (error) {
      this.trouble = error;
      // The next poll tries again; whoever has no time left gives up by himself.
      if (this.store.isTransient(error)) return;
      for (const id of ids) for (const watcher of this.tasks.get(id)?.watchers ?? []) watcher.failed(error);
    }
  }

  private wanted(): string[] {
    const ids: string[] = [];
    for (const [id, watched] of this.tasks) {
      if (!watched.wanted) continue;
      watched.wanted = false;
      if (ids.push(id) === maxBatch) break;
    }
    return ids;
  }

  private tell(id: string, outcome: TaskOutcome | undefined): void {
    const watched = this.tasks.get(id);
    if (!watched) return;
    if (outcome) {
      watched.missing = false;
      watched.last = outcome;
      for (const watcher of watched.watchers) watcher.told(outcome);
    } else if (watched.missing) {
      for (const watcher of watched.watchers) watcher.gone(watched.last);
    } else {
      // It may have ended within this very look.
      watched.missing = true;
      watched.wanted = true;
    }
  }

  private take(hint: StoreHint): void {
    if (hint.kind === 'ended') this.want(this.tasks.get(hint.id));
    // A new connection: what was told meanwhile is lost.
    else if (hint.kind === 'wake' && hint.queue === undefined) for (const one of this.tasks.values()) this.want(one);
  }

  private want(watched: Watched | undefined): void {
    if (!watched) return;
    watched.wanted = true;
    this.schedule();
  }

  private pollLater(): void {
    clearTimeout(this.timer);
    const { firstMs, longestMs } = this.hinted ? hintedPolls : unhintedPolls;
    this.pollMs = Math.min(Math.max(this.pollMs * factor, firstMs), longestMs);
    this.timer = setTimeout(() => void this.poll(), this.pollMs * (0.75 + Math.random() * 0.5)).unref();
  }

  private async poll(): Promise<void> {
    this.hinted = (await this.listening)?.live ?? false;
    if (this.tasks.size === 0) return;
    for (const watched of this.tasks.values()) watched.wanted = true;
    await this.look();
    if (this.tasks.size > 0 && !this.closed) this.pollLater();
  }

  private listen(): void {
    clearTimeout(this.lingering);
    if (this.listening) return;
    this.listening = this.store.listen((hint) => this.take(hint));
    void this.listening.then(({ live }) => {
      this.hinted = live;
    });
  }

  private rest(): void {
    clearTimeout(this.timer);
    clearTimeout(this.lingering);
    this.lingering = setTimeout(() => void this.deafen(), lingerMs).unref();
  }

  private async deafen(): Promise<void> {
    clearTimeout(this.lingering);
    const { listening } = this;
    this.listening = undefined;
    this.hinted = false;
    await (await listening)?.stop();
  }
}
