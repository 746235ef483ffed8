import { setTimeout as delay } from 'node:timers/promises';
import { Inject, Injectable } from '@nestjs/common';
import type { RawEvent } from '../deliveries/github-event.js';
import { sign } from '../deliveries/signature.js';
import { WEBHOOK_SECRET } from '../deliveries/webhook-secret.js';
import { stableUuid } from './examples.js';

export interface SendOptions {
  /** Where the application listens. */
  readonly url: string;
  /** Milliseconds between two posts of one sender. */
  readonly pauseMs: number;
  /** Ends the sending; a post that is under way still gets its answer. */
  readonly signal: AbortSignal;
}

/** How the application answered. */
export interface Answers {
  accepted: number;
  duplicates: number;
  refused: number;
  /** Answers that should not be, in words. */
  readonly unexpected: string[];
}

interface Post extends RawEvent {
  readonly forged: boolean;
}

const senders = 12;

/** Plays GitHub: posts each delivery over HTTP, some of them twice; and somebody else, who does not know the secret. */
@Injectable()
export class GithubSender {
  constructor(@Inject(WEBHOOK_SECRET) private readonly secret: string) {}

  async send(events: readonly RawEvent[], options: SendOptions): Promise<Answers> {
    const answers: Answers = { accepted: 0, duplicates: 0, refused: 0, unexpected: [] };
    // All senders draw from one iterator: a delivery and its second post are often under way at the same time.
    const posts = postsOf(events);
    const sender = async (): Promise<void> => {
      for (const post of posts) {
        options.signal.throwIfAborted();
        await this.post(options.url, post, answers);
        if (options.pauseMs > 0) await delay(options.pauseMs, undefined, { signal: options.signal });
      }
    };
    await Promise.all(Array.from({ length: senders }, sender));
    return answers;
  }

  private async post(url: string, post: Post, answers: Answers): Promise<void> {
    const body = JSON.stringify(post.payload);
    const response = await fetch(`${url}/webhooks/github`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        'x-github-event': post.name,
        'x-github-delivery': post.deliveryId,
        'x-hub-signature-256': sign(body, post.forged ? 'a guess' : this.secret),
      },
      body,
    });
    const answer = await response.text();
    if (post.forged && response.status === 401) answers.refused++;
    else if (!post.forged && response.status === 202) answers.accepted++;
    else if (!post.forged && response.status === 200 && answer === '{"duplicate":true}') answers.duplicates++;
    else answers.unexpected.push(`${post.name} ${post.deliveryId}: ${response.status} ${answer}`);
  }
}

/** Every fourth delivery comes twice, and after every tenth comes a forged one. */
function* postsOf(events: readonly RawEvent[]): Generator<Post> {
  for (const [index, event] of events.entries()) {
    yield { ...event, forged: false };
    if (index % 4 === 0) yield { ...event, forged: false };
    if (index % 10 === 0) yield { ...event, deliveryId: forgedId(event), forged: true };
  }
}

/** Under these ids nothing may ever be stored. */
export function forgedIds(events: readonly RawEvent[]): string[] {
  return events.map(forgedId);
}

function forgedId({ deliveryId }: RawEvent): string {
  return stableUuid(`forged/${deliveryId}`);
}
