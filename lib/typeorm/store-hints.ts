import type { Listening, StoreHint } from '../engine/task-store.js';
import { clientConfig } from './client-config.js';
import type { Database, Statement } from './database.js';
import { PostgresNotifier } from './postgres-notifier.js';
import { SharedNotifier } from './shared-notifier.js';

/** Tells the listeners of this process what other processes notify of, and what the store itself has to tell. */
export class StoreHints {
  private readonly listeners = new Set<(hint: StoreHint) => void>();
  private readonly notifier: SharedNotifier;

  constructor(
    private readonly database: Database,
    { listen }: { readonly listen: Statement },
  ) {
    this.notifier = new SharedNotifier(
      (listener) => new PostgresNotifier(clientConfig(database.pool), listen.text, listener),
    );
  }

  /** To those who listen here, without NOTIFY. */
  tell(hint: StoreHint): void {
    for (const listener of this.listeners) listener(hint);
  }

  async listen(listener: (hint: StoreHint) => void): Promise<Listening> {
    // An object of its own: the same function may listen twice.
    const heard = (hint: StoreHint) => listener(hint);
    this.listeners.add(heard);
    const unlisten = () => void this.listeners.delete(heard);
    if (this.database.behindPooler) {
      listener({ kind: 'deaf', reason: 'a transaction pooler passes on no NOTIFY' });
      return { live: false, stop: async () => unlisten() };
    }
    const listening = await this.notifier.listen(listener);
    return {
      get live() {
        return listening.live;
      },
      stop: () => {
        unlisten();
        return listening.stop();
      },
    };
  }
}
