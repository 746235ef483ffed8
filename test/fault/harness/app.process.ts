import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import type { AppSettings, EventCounts, FromApp, Load, ToApp } from './app.protocol.js';
import type { Guardian } from './guardian.js';
import { compiled } from './paths.js';

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const keptLines = 400;

/** An application under test, as the harness sees it. */
export class AppProcess {
  readonly exited: Promise<Exit>;
  readonly ready: Promise<void>;
  /** What it has enqueued and was told so. */
  readonly acknowledged: string[] = [];
  counts: EventCounts = { started: 0, done: 0, retrying: 0, failed: 0, cancelled: 0, rescued: 0, lost: 0 };
  rssBytes = 0;
  /** How many of its enqueues found the database unavailable. */
  unanswered = 0;
  exit: Exit | undefined;
  isReady = false;
  leasesLost = 0;
  /** Whether a fault has reason to let it end. */
  mayEnd = false;
  readonly troubles: string[] = [];
  private readonly lines: string[] = [];
  private readonly child: ChildProcess;
  private loadOver: () => void = () => {};

  constructor(
    guardian: Guardian,
    readonly settings: AppSettings,
  ) {
    this.child = fork(compiled('app.main.js'), {
      env: { ...process.env, BACKIE_FAULT_APP: JSON.stringify(settings), NO_COLOR: '1' },
      execArgv: ['--enable-source-maps'],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    guardian.guard(this.child);
    this.child.on('error', (error) => this.troubles.push(String(error)));
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream!.setEncoding('utf8').on('data', (text: string) => {
        this.lines.push(...text.split('\n').filter(Boolean));
        this.leasesLost += text.match(/lease of worker \S+ is lost/g)?.length ?? 0;
        this.lines.splice(0, this.lines.length - keptLines);
      });
    }
    this.exited = once(this.child, 'exit').then(([code, signal]) => {
      this.exit = { code, signal } as Exit;
      if (!this.mayEnd) this.troubles.push(`ended by itself: code ${code}, signal ${signal}`);
      return this.exit;
    });
    this.child.on('message', (message: FromApp) => this.take(message));
    this.ready = new Promise((resolve, reject) => {
      this.child.on('message', (message: FromApp) => message.kind === 'ready' && resolve());
      void this.exited.then(({ code, signal }) =>
        reject(new Error(`${settings.name} ended before it was ready (${code ?? signal}):\n${this.log}`)),
      );
    });
    // Faults end processes before they are ready; whoever waits hears of it all the same.
    this.ready.catch(() => {});
  }

  get pid(): number {
    return this.child.pid!;
  }

  get alive(): boolean {
    return this.exit === undefined;
  }

  /** The latest lines that it has written. */
  get log(): string {
    return this.lines.join('\n');
  }

  /** Sends a signal after which it may end. */
  signal(signal: NodeJS.Signals): void {
    this.mayEnd = true;
    this.child.kill(signal);
  }

  async kill(): Promise<void> {
    this.signal('SIGKILL');
    await this.exited;
  }

  /** Enqueues; resolves when all is acknowledged. One load at a time. */
  load(load: Load): Promise<void> {
    return this.order({ kind: 'load', load });
  }

  enqueueWhileDraining(): Promise<void> {
    return this.order({ kind: 'enqueueWhileDraining' });
  }

  private async order(message: ToApp): Promise<void> {
    const over = new Promise<void>((resolve) => {
      this.loadOver = resolve;
    });
    this.child.send(message);
    await Promise.race([over, this.exited]);
  }

  private take(message: FromApp): void {
    switch (message.kind) {
      case 'ready':
        this.isReady = true;
        return;
      case 'loaded':
        this.unanswered += message.unanswered;
        return this.loadOver();
      case 'enqueued':
        for (const id of message.ids) this.acknowledged.push(id);
        return;
      case 'report':
        this.counts = message.counts;
        this.rssBytes = message.rssBytes;
        return;
      case 'trouble':
        this.troubles.push(message.message);
        return this.loadOver();
    }
  }
}
