import { Injectable } from '@nestjs/common';
import { type Analysis, isAnalysis } from './analyse.js';
import { FlakyTextServer } from './flaky-text.server.js';

export interface TextRequestOptions {
  /** The same over all attempts at one request. */
  readonly key: string;
  /** Counted from 1. */
  readonly attempt: number;
  readonly signal: AbortSignal;
}

@Injectable()
export class TextClient {
  constructor(private readonly server: FlakyTextServer) {}

  /** @throws when the service cannot be reached or answers with an error: the caller's retries are there for that. */
  async analyse(text: string, options: TextRequestOptions): Promise<Analysis> {
    const response = await fetch(this.server.url, {
      method: 'POST',
      headers: { 'x-request-key': options.key, 'x-attempt': String(options.attempt) },
      body: text,
      signal: options.signal,
    });
    if (!response.ok) throw new Error(`The text service answered ${response.status}: ${await response.text()}`);
    const analysis = await response.json();
    if (!isAnalysis(analysis)) throw new Error('The text service answered something else.');
    return analysis;
  }
}
