import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/** What happens to bytes in one direction: they pass, wait for better times, or vanish. */
export type Flow = 'pass' | 'stall' | 'drop';

export interface Flows {
  /** From the application to the server. */
  readonly up: Flow;
  /** From the server to the application. */
  readonly down: Flow;
}

const passing: Flows = { up: 'pass', down: 'pass' };

/** ReadyForQuery: outside a transaction, which means that what was asked has been committed, and inside one. */
const committed = Buffer.from('5a0000000549', 'hex');
const inTransaction = Buffer.from('5a0000000554', 'hex');

/** The network between the applications and the server. */
export class WireProxy {
  readonly links = new Set<Link>();
  /** How connections that are made from now on behave. */
  flows: Flows = passing;
  private readonly server: Server;
  private losing: { readonly pattern: RegExp; left: number; lost: number } | undefined;

  static async start(upstream: () => number): Promise<WireProxy> {
    const proxy = new WireProxy(upstream);
    await new Promise<void>((resolve) => proxy.server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  private constructor(private readonly upstream: () => number) {
    this.server = createServer((client) => {
      const link = new Link(client, connect(this.upstream(), '127.0.0.1'), this.flows, (text) =>
        this.losesReplyTo(text),
      );
      this.links.add(link);
      void link.closed.then(() => {
        this.links.delete(link);
        if (link.replyLost && this.losing) this.losing.lost++;
      });
    });
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  /** Sets how links behave: all of them and new ones, or only those that are alike. */
  set(flows: Partial<Flows>, which?: (link: Link) => boolean): void {
    const wanted = { ...passing, ...flows };
    if (!which) this.flows = wanted;
    for (const link of this.links) if (!which || which(link)) link.set(wanted);
  }

  /** Everything passes again. What was stalled arrives now; a link that has lost bytes is cut. */
  heal(): void {
    this.set(passing);
  }

  cut(which: (link: Link) => boolean = () => true): void {
    for (const link of this.links) if (which(link)) link.cut();
  }

  /**
   * From now on the replies to the next `count` statements that are like the pattern are lost, after the server has
   * committed them, and their connections with them.
   *
   * @returns How many have been lost so far.
   */
  loseReplies(pattern: RegExp, count: number): () => number {
    const losing = { pattern, left: count, lost: 0 };
    this.losing = losing;
    return () => losing.lost;
  }

  async close(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private losesReplyTo(text: string): boolean {
    if (!this.losing || this.losing.left === 0 || !this.losing.pattern.test(text)) return false;
    this.losing.left--;
    return true;
  }
}

/** One connection through the proxy. */
export class Link {
  readonly closed: Promise<void>;
  /** Whether it has sent a LISTEN. */
  listens = false;
  replyLost = false;
  private losing = false;
  private withheld: Buffer = Buffer.alloc(0);
  private maimed = false;

  constructor(
    private readonly client: Socket,
    private readonly server: Socket,
    private flows: Flows,
    private readonly losesReplyTo: (text: string) => boolean,
  ) {
    client.setNoDelay(true);
    server.setNoDelay(true);
    client.on('data', (chunk) => this.fromClient(chunk));
    server.on('data', (chunk) => this.fromServer(chunk));
    // A stalled network does not tell that the other side has gone.
    client.on('close', () => this.flows.up !== 'stall' && server.destroy());
    server.on('close', () => this.flows.down !== 'stall' && client.destroy());
    for (const socket of [client, server]) socket.on('error', () => {});
    this.closed = Promise.all(
      [client, server].map((socket) => new Promise<void>((resolve) => socket.once('close', () => resolve()))),
    ).then(() => {});
    this.set(flows);
  }

  set(flows: Flows): void {
    this.flows = flows;
    if (flows.up === 'stall') this.client.pause();
    else this.client.resume();
    if (flows.down === 'stall') this.server.pause();
    else this.server.resume();
    const whole = flows.up === 'pass' && flows.down === 'pass';
    if (whole && (this.maimed || this.client.destroyed || this.server.destroyed)) this.cut();
  }

  /** The port under which the server knows the connection. */
  get port(): number | undefined {
    return this.server.localPort;
  }

  cut(): void {
    this.client.resetAndDestroy();
    this.server.resetAndDestroy();
  }

  private fromClient(chunk: Buffer): void {
    if (this.flows.up === 'drop') {
      this.maimed = true;
      return;
    }
    const text = chunk.toString('latin1');
    if (text.includes('LISTEN "')) this.listens = true;
    if (this.losesReplyTo(text)) this.losing = true;
    this.server.write(chunk);
  }

  /** Withholds a reply until it is clear whether it is that of the commit. */
  private lose(chunk: Buffer): void {
    this.withheld = Buffer.concat([this.withheld, chunk]);
    const end = this.withheld.subarray(-committed.length);
    if (end.equals(committed)) {
      this.replyLost = true;
      this.cut();
    } else if (end.equals(inTransaction)) {
      this.client.write(this.withheld);
      this.withheld = Buffer.alloc(0);
    }
  }

  private fromServer(chunk: Buffer): void {
    if (this.losing) return this.lose(chunk);
    if (this.flows.down === 'drop') {
      this.maimed = true;
      return;
    }
    this.client.write(chunk);
  }
}
