/**
 * Lets concurrent callers share statements, by demand and never by a timer: while one batch is under way the next is
 * collected, and it leaves when the first returns. A lone call on an idle line leaves at the end of the current
 * microtask, so it pays no delay; calls made in the same breath share one statement.
 *
 * Every caller gets its own result. When a batch fails for a reason that lies in its items, it is split until the bad
 * item stands alone, so that its neighbours never fail with it.
 */
export class GroupCommit<Item, Result> {
  private waiting: Item[] = [];
  private underWay = 0;
  private itemsUnderWay = 0;
  private scheduled = false;
  private idleWaiters: (() => void)[] = [];

  /**
   * @param send Stores a batch and gives one result an item, in their order; all or nothing.
   * @param options.maxBatch How many items may share a statement.
   * @param options.maxUnderWay How many statements may be under way at once.
   * @param options.divisible Whether a failure may lie in single items, so that trying halves makes sense.
   * @param options.resolve Gives an item its result, or with `reject` its error. Callers that come by the ten thousands a
   * second are spared a promise each.
   */
  constructor(
    private readonly send: (items: readonly Item[]) => Promise<readonly Result[]>,
    private readonly options: {
      readonly maxBatch: number;
      readonly maxUnderWay: number;
      readonly divisible: (error: unknown) => boolean;
      readonly resolve: (item: Item, result: Result) => void;
      readonly reject: (item: Item, error: unknown) => void;
    },
  ) {}

  /** How many items wait or are under way. */
  get size(): number {
    return this.waiting.length + this.itemsUnderWay;
  }

  submit(item: Item): void {
    this.waiting.push(item);
    this.schedule();
  }

  /** Resolves when nothing waits and nothing is under way. */
  idle(): Promise<void> {
    if (this.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.idleWaiters.push(resolve));
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    queueMicrotask(() => {
      this.scheduled = false;
      while (this.waiting.length > 0 && this.underWay < this.options.maxUnderWay) {
        void this.flush(this.waiting.splice(0, this.options.maxBatch));
      }
    });
  }

  private async flush(batch: readonly Item[]): Promise<void> {
    this.underWay++;
    this.itemsUnderWay += batch.length;
    await this.deliver(batch);
    this.underWay--;
    this.itemsUnderWay -= batch.length;
    if (this.waiting.length > 0) this.schedule();
    else if (this.underWay === 0) for (const resolve of this.idleWaiters.splice(0)) resolve();
  }

  private async deliver(batch: readonly Item[]): Promise<void> {
    let results: readonly Result[];
    try {
      results = await this.send(batch);
    } catch (error) {
      if (batch.length > 1 && this.options.divisible(error)) {
        const half = batch.length >> 1;
        await this.deliver(batch.slice(0, half));
        await this.deliver(batch.slice(half));
      } else {
        for (const item of batch) tell(() => this.options.reject(item, error));
      }
      return;
    }
    batch.forEach((item, index) => tell(() => this.options.resolve(item, results[index] as Result)));
  }
}

/** What one item's caller throws is the process's to hear of, but neither the other items' nor the line's affair. */
function tell(caller: () => void): void {
  try {
    caller();
  } catch (error) {
    void Promise.reject(error);
  }
}
