import { type DynamicModule, Module } from '@nestjs/common';
import { DatabaseServer } from './database-server.js';

/**
 * Global and the first import of the application: Nest runs the shutdown hooks of global modules last, in the reverse
 * order of their import, so the server outlives everybody's connections.
 */
@Module({})
export class DatabaseModule {
  static forSample(folder: string): DynamicModule {
    return {
      module: DatabaseModule,
      global: true,
      providers: [{ provide: DatabaseServer, useFactory: () => DatabaseServer.start(folder) }],
      exports: [DatabaseServer],
    };
  }
}
