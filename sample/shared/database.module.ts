import { Global, Module } from '@nestjs/common';
import { DatabaseServer } from './database-server.js';

/**
 * Global and the first import of the application: Nest runs the shutdown hooks of global modules last, in the reverse
 * order of their import, so the server outlives everybody's connections.
 */
@Global()
@Module({
  providers: [{ provide: DatabaseServer, useFactory: () => DatabaseServer.start() }],
  exports: [DatabaseServer],
})
export class DatabaseModule {}
