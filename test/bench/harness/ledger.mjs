/** The system's monotonic clock in milliseconds, the same in every process of the machine. */
export const now = () => Number(process.hrtime.bigint()) / 1e6;

/** What ran in this process, and when. */
export class Ledger {
  done = 0;
  /** When the worker said that it had started. */
  startedAt = Infinity;
  firstBegan = 0;
  lastEnded = 0;
  #waiters = [];

  /** @param {number} total How many tasks there will be at most; they are numbered from 0. */
  constructor(total) {
    this.runs = new Uint8Array(total);
    this.beganAt = new Float64Array(total);
    this.endedAt = new Float64Array(total);
    /** The endings in their order. */
    this.endings = new Float64Array(total);
  }

  /** When work began: at the first claim, so neither connecting nor the size of the first batch counts. */
  get from() {
    return Math.min(this.startedAt, this.firstBegan);
  }

  began(i) {
    const at = now();
    this.firstBegan ||= at;
    this.beganAt[i] = at;
    this.runs[i]++;
  }

  ended(i) {
    this.lastEnded = this.endedAt[i] = this.endings[this.done] = now();
    this.done++;
    if (this.#waiters.length > 0) this.#release();
  }

  /** Resolves when `count` tasks have ended. */
  reached(count) {
    if (this.done >= count) return Promise.resolve();
    return new Promise((resolve) => this.#waiters.push({ count, resolve }));
  }

  /** How many tasks ran between two times, each by the part of it that lies within, and how many ended there. */
  busy(from, to) {
    let ms = 0;
    let ended = 0;
    this.beganAt.forEach((began, i) => {
      if (!began) return;
      const end = this.endedAt[i] || Infinity;
      ms += Math.max(0, Math.min(end, to) - Math.max(began, from));
      if (end >= from && end < to) ended++;
    });
    return { ms, ended };
  }

  #release() {
    this.#waiters = this.#waiters.filter(({ count, resolve }) => {
      if (this.done < count) return true;
      resolve();
      return false;
    });
  }
}
