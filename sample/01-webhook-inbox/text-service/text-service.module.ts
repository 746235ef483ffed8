import { Module } from '@nestjs/common';
import { FlakyTextServer } from './flaky-text.server.js';
import { TextClient } from './text.client.js';

@Module({ providers: [FlakyTextServer, TextClient], exports: [TextClient] })
export class TextServiceModule {}
