import 'reflect-metadata';
import { Injectable, type InjectableOptions } from '@nestjs/common';
import { SCOPE_OPTIONS_METADATA } from '@nestjs/common/constants.js';
import type { BackgroundTaskClass } from '../interfaces/background-task-handler.interface.js';
import type { BackgroundTaskOptions } from '../interfaces/background-task-options.interface.js';
import { checkTaskOptions } from '../options/check-task-options.js';

const BACKGROUND_TASK = 'backie:background-task';

/** What the decorator says of a class. */
export interface BackgroundTaskMetadata {
  readonly name: string;
  readonly options: BackgroundTaskOptions;
}

/**
 * Makes the class an injectable provider and declares its task.
 *
 * A subclass inherits the declaration, so that it can take its parent's place; decorate it to give it a task of its own.
 * A scope is said by `@Injectable({ scope })`, above or below, and is inherited too.
 *
 * @param name 1 to 128 characters, unique in the application. It is stored with each task: renaming it strands those
 * that wait under the old one.
 * @throws InvalidOptionsError for a bad name or option.
 */
export function BackgroundTask<Payload = unknown>(
  name: string,
  options: BackgroundTaskOptions<Payload> = {},
): (target: BackgroundTaskClass<Payload>) => void {
  checkTaskOptions(name, options);
  return (target) => {
    // @Injectable() without options would replace a scope that was declared before with none.
    Injectable(Reflect.getMetadata(SCOPE_OPTIONS_METADATA, target) as InjectableOptions | undefined)(target);
    const metadata: BackgroundTaskMetadata = { name, options: options as BackgroundTaskOptions };
    Reflect.defineMetadata(BACKGROUND_TASK, metadata, target);
  };
}

/** What `@BackgroundTask` said of this class or of the nearest one that it extends. */
export function backgroundTaskOf(target: unknown): BackgroundTaskMetadata | undefined {
  if (typeof target !== 'function') return undefined;
  return Reflect.getMetadata(BACKGROUND_TASK, target) as BackgroundTaskMetadata | undefined;
}
