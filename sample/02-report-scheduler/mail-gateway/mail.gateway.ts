import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Injectable, type OnApplicationShutdown, type OnModuleInit } from '@nestjs/common';

/** Four in two seconds; averaged over twice as long, since a mail may be late on its way. */
const mailsPerWindow = 12;
const windowMs = 4_000;

/** A foreign service, played by this process: it refuses whoever sends more than two mails a second for long. */
@Injectable()
export class MailGateway implements OnModuleInit, OnApplicationShutdown {
  readonly delivered = new Set<string>();
  refused = 0;
  private readonly arrivals: number[] = [];
  private readonly server: Server = createServer((request, response) => {
    const now = performance.now();
    this.arrivals.push(now);
    const recent = this.arrivals.filter((arrival) => arrival > now - windowMs).length;
    if (recent > mailsPerWindow) this.refused++;
    else this.delivered.add(String(request.headers['idempotency-key']));
    request.resume();
    response.writeHead(recent > mailsPerWindow ? 429 : 202).end();
  });

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/mails`;
  }

  async onModuleInit(): Promise<void> {
    await new Promise<void>((resolve) => this.server.listen(0, '127.0.0.1', resolve));
  }

  onApplicationShutdown(): void {
    this.server.close();
  }
}
