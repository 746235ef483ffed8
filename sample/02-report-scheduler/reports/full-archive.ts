import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rm, stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { BackgroundTask, type BackgroundTaskHandler, type CurrentTask } from 'nestjs-backie';
import { SalesLedger } from '../sales/sales-ledger.js';

export interface Archive {
  readonly sales: number;
  readonly cents: number;
  readonly bytes: number;
  /** Of the lines before they were compressed. */
  readonly sha256: string;
}

/** Writes every sale into one compressed file. What it returns is kept for whoever asked for it. */
@BackgroundTask('full-archive', { queue: 'archive', keepResult: true })
export class FullArchive implements BackgroundTaskHandler<{ file: string }, Archive> {
  constructor(private readonly ledger: SalesLedger) {}

  async run({ file }: { file: string }, { signal }: CurrentTask): Promise<Archive> {
    const hash = createHash('sha256');
    const total = { sales: 0, cents: 0 };
    const { ledger } = this;
    async function* lines() {
      for (let after = 0; ;) {
        const page = await ledger.page(after, 500);
        for (const { id, tenant, soldAt, product, cents } of page) {
          const line = `${id},${tenant},${soldAt.toISOString()},${product},${cents}\n`;
          hash.update(line);
          total.sales++;
          total.cents += cents;
          after = id;
          yield line;
        }
        if (page.length === 0) return;
      }
    }
    try {
      await pipeline(Readable.from(lines()), createGzip(), createWriteStream(file), { signal });
    } catch (error) {
      // Cancelled, or failed: half an archive is none.
      await rm(file, { force: true });
      throw error;
    }
    return { ...total, bytes: (await stat(file)).size, sha256: hash.digest('hex') };
  }
}
