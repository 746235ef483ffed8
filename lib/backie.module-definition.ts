import { ConfigurableModuleBuilder } from '@nestjs/common';
import type { BackieModuleOptions } from './interfaces/backie-module-options.interface.js';
import { instanceProviders, instanceTokens } from './backie.providers.js';

/** What `forRoot` and `forRootAsync` take beside the options: it shapes the module itself. */
export interface BackieModuleExtras {
  /** Makes TaskQueue and the others injectable everywhere. @default true */
  isGlobal?: boolean;
  /**
   * Makes a second, independent instance, with a schema of its own: its tasks say `instance: name`, and its TaskQueue
   * is injected by `@Inject(getTaskQueueToken(name))`.
   */
  name?: string;
}

const MODULE_OPTIONS = Symbol('backie:module-options');

export const { ConfigurableModuleClass, OPTIONS_TYPE, ASYNC_OPTIONS_TYPE } =
  new ConfigurableModuleBuilder<BackieModuleOptions>({ optionsInjectionToken: MODULE_OPTIONS })
    .setClassMethodName('forRoot')
    .setFactoryMethodName('createBackieOptions')
    .setExtras<BackieModuleExtras>({ isGlobal: true, name: undefined }, (definition, { isGlobal, name }) => ({
      ...definition,
      global: isGlobal ?? true,
      providers: [...(definition.providers ?? []), ...instanceProviders(name, MODULE_OPTIONS)],
      exports: instanceTokens(name),
    }))
    .build();
