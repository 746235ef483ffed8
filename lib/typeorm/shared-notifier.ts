import type { Listening, StoreHint } from '../engine/task-store.js';

type Listener = (hint: StoreHint) => void;

/** Something that listens until it is stopped. */
interface Notifier extends Listening {
  start(): Promise<void>;
}

/** Lets all listeners of a process share one connection, which is there while anybody listens. */
export class SharedNotifier {
  private readonly listeners = new Set<{ readonly hear: Listener }>();
  private current: { readonly notifier: Notifier; readonly started: Promise<void> } | undefined;

  constructor(private readonly make: (listener: Listener) => Notifier) {}

  async listen(hear: Listener): Promise<Listening> {
    const listener = { hear };
    this.listeners.add(listener);
    const late = this.current !== undefined;
    if (!this.current) {
      const notifier = this.make((hint) => this.tell(hint));
      this.current = { notifier, started: notifier.start() };
    }
    const { notifier, started } = this.current;
    await started;
    // As the first one was told when the connection was made.
    if (late && notifier.live) told(hear, { kind: 'wake' });
    return {
      get live() {
        return notifier.live;
      },
      stop: async () => {
        if (!this.listeners.delete(listener) || this.listeners.size > 0) return;
        this.current = undefined;
        await notifier.stop();
      },
    };
  }

  private tell(hint: StoreHint): void {
    for (const { hear } of this.listeners) told(hear, hint);
  }
}

/** A hint is never needed: a listener that fails may cost latency, but no other listener and no process. */
function told(hear: Listener, hint: StoreHint): void {
  try {
    hear(hint);
  } catch {
    // It was told.
  }
}
