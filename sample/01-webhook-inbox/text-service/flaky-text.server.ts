import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { Injectable, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';
import { analyse } from './analyse.js';

/**
 * Stands for somebody else's service, with somebody else's reliability: the first one or two attempts at each request
 * fail, with a 503 or with a connection that breaks. It goes by the attempt's number, not by a memory of its own, which
 * would be gone after a `kill -9`.
 */
@Injectable()
export class FlakyTextServer implements OnModuleInit, OnApplicationShutdown {
  private readonly server = createServer((request, response) => {
    this.answer(request, response).catch(() => response.destroy());
  });

  get url(): string {
    const address = this.server.address();
    if (address === null || typeof address === 'string') throw new Error('The text service is not listening.');
    return `http://127.0.0.1:${address.port}/analyse`;
  }

  /** Before the workers start: they do on bootstrap. */
  async onModuleInit(): Promise<void> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
  }

  /** After the workers have drained: they do before this. */
  onApplicationShutdown(): void {
    this.server.close();
    this.server.closeAllConnections();
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await text(request);
    await delay(15);
    const attempt = Number(request.headers['x-attempt']);
    if (attempt > failuresOf(String(request.headers['x-request-key']))) {
      response.setHeader('content-type', 'application/json').end(JSON.stringify(analyse(body)));
    } else if (attempt === 1) {
      response.writeHead(503).end('Come back later.');
    } else {
      response.destroy();
    }
  }
}

/** One or two, always the same for a key. */
function failuresOf(key: string): number {
  return 1 + (key.charCodeAt(0) % 2);
}
