import { type DynamicModule, Module } from '@nestjs/common';
import { DiscoveryModule } from '@nestjs/core';
import { ASYNC_OPTIONS_TYPE, ConfigurableModuleClass, OPTIONS_TYPE } from './backie.module-definition.js';

/** Durable background tasks on PostgreSQL. */
@Module({ imports: [DiscoveryModule] })
export class BackieModule extends ConfigurableModuleClass {
  /**
   * Imports the module, once at the root.
   *
   * @param options Everything has a default: without a connection, DATABASE_URL counts, and without that the embedded
   * PostgreSQL is used, never in production.
   */
  static override forRoot(options: typeof OPTIONS_TYPE = {}): DynamicModule {
    // Null is what a configuration that is missing gives, whatever the types say.
    return super.forRoot(options ?? {});
  }

  /** As `forRoot`, with options that `useFactory`, `useClass` or `useExisting` gives. */
  static override forRootAsync(options: typeof ASYNC_OPTIONS_TYPE): DynamicModule {
    return super.forRootAsync(options);
  }
}
