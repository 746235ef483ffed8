import type { Run, Statement } from './database.js';
import { isWithoutBase } from './postgres-errors.js';

/** The number from which claims are counted, which a crash of the server takes away. */
export class ClaimBase {
  constructor(
    private readonly run: Run,
    private readonly beginEpoch: Statement,
    /** Told when it was gone: claims may have been forgotten. */
    private readonly crashed: () => void,
  ) {}

  /** Does what needs the base, once more with a new one if that is gone. */
  async with<Result>(work: () => Promise<Result>): Promise<Result> {
    try {
      return await work();
    } catch (error) {
      if (!isWithoutBase(error)) throw error;
      this.crashed();
      await this.run(this.beginEpoch, []);
      return work();
    }
  }
}
