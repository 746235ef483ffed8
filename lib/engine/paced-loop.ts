/**
 * Takes one turn after the other until it is stopped. Each turn says how long to rest after it; none keeps the process
 * alive.
 */
export class PacedLoop {
  private timer: NodeJS.Timeout | undefined;
  private underWay: Promise<void> = Promise.resolve();
  private stopped = true;

  /** @param turn Gives the milliseconds to rest until the next one. Must not reject. */
  constructor(private readonly turn: () => Promise<number>) {}

  /** Takes the first turn at once, and resolves after it. */
  start(): Promise<void> {
    this.stopped = false;
    this.underWay = this.takeTurn();
    return this.underWay;
  }

  /** Takes the first turn in `ms` milliseconds. */
  startIn(ms: number): void {
    this.stopped = false;
    this.rest(ms);
  }

  /** Takes no more turns. Resolves when the one under way, if any, is over. */
  async stop(): Promise<void> {
    this.stopped = true;
    clearTimeout(this.timer);
    await this.underWay;
  }

  private async takeTurn(): Promise<void> {
    const restMs = await this.turn();
    if (!this.stopped) this.rest(restMs);
  }

  private rest(ms: number): void {
    this.timer = setTimeout(() => {
      this.underWay = this.takeTurn();
    }, ms).unref();
  }
}
