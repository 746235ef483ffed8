import type { Run, Statement } from './database.js';
import { isWithoutBase } from './postgres-errors.js';

/** The number from which claims are counted, which each start and each crash of the server take away. */
export class ClaimBase {
  constructor(
    private readonly run: Run,
    private readonly beginEpoch: Statement,
    /** Told when it was gone: claims may have been forgotten. */
    private readonly gone: () => void,
  ) {}

  /** Does what needs the base, once more with a new one if that is gone. */
  async with<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      if (!isWithoutBase(error)) throw error;
      this.gone();
      await this.run(this.beginEpoch, []);
      return work();
    }
  }
}
