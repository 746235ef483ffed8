import { join } from 'node:path';
import { Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { startEmbeddedPostgres, type EmbeddedPostgres } from 'nestjs-backie/embedded';

/**
 * The PostgreSQL that a sample runs on: `DATABASE_URL`, or an embedded one whose data stays in `node_modules/.cache`, so
 * that a run that was killed finds everything again.
 */
@Injectable()
export class DatabaseServer implements OnApplicationShutdown {
  private constructor(
    readonly url: string,
    private readonly embedded?: EmbeddedPostgres,
  ) {}

  /** @param folder Where the embedded one keeps its data, below `node_modules/.cache`. */
  static async start(folder: string): Promise<DatabaseServer> {
    const url = process.env['DATABASE_URL'];
    if (url) return new DatabaseServer(url);
    const embedded = await startEmbeddedPostgres({ dataDir: join('node_modules', '.cache', folder) });
    return new DatabaseServer(embedded.url, embedded);
  }

  async onApplicationShutdown(): Promise<void> {
    await this.embedded?.stop();
  }
}
