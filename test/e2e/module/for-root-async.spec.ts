import { Injectable, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import {
  BackgroundTask,
  type BackgroundTaskHandler,
  BackieModule,
  type BackieModuleOptions,
  type BackieOptionsFactory,
  getTaskQueueToken,
  InvalidOptionsError,
  TaskEvents,
  TaskQueue,
} from 'nestjs-backie';
import { DataSource } from 'typeorm';
import { expect, inject, it } from 'vitest';
import { bootModule, freshSchema, moduleOf, runTask, sql } from '../../support/app.js';

@BackgroundTask('greet', { queue: 'mail' })
class Greet implements BackgroundTaskHandler<string> {
  readonly greeted: string[] = [];

  run(name: string): void {
    this.greeted.push(name);
  }
}

/** What a configuration service knows. */
@Injectable()
class Settings {
  readonly schema = freshSchema();
  readonly databaseUrl = inject('databaseUrl');
  readonly queues = [{ name: 'mail', concurrency: 2 }];
}

@Module({ providers: [Settings], exports: [Settings] })
class SettingsModule {}

@Injectable()
class OptionsFromSettings implements BackieOptionsFactory {
  constructor(private readonly settings: Settings) {}

  createBackieOptions(): BackieModuleOptions {
    const { schema, databaseUrl, queues } = this.settings;
    return { schema, connection: databaseUrl, queues };
  }
}

@Module({ imports: [SettingsModule], providers: [OptionsFromSettings], exports: [OptionsFromSettings] })
class OptionsModule {}

async function bootAndGreet(...imports: Parameters<typeof moduleOf>[1] & object) {
  const app = await bootModule(moduleOf([Greet], imports));
  await runTask({ tasks: app.get(TaskQueue), events: app.get(TaskEvents) }, Greet, 'Ada');
  expect(app.get(Greet).greeted).toEqual(['Ada']);
  return app;
}

it('builds its options in a factory that injects a configuration service and the DataSource of @nestjs/typeorm', async () => {
  const app = await bootAndGreet(
    TypeOrmModule.forRoot({ type: 'postgres', url: inject('databaseUrl') }),
    BackieModule.forRootAsync({
      imports: [SettingsModule],
      inject: [DataSource, Settings],
      useFactory: (dataSource: DataSource, { schema, queues }: Settings) => ({ dataSource, schema, queues }),
    }),
  );
  const { schema } = app.get(Settings, { strict: false });
  const { id } = await app.get(DataSource).transaction(async (manager) => {
    const stored = await app.get(TaskQueue).enqueue(Greet, 'Bob', { manager, delayMs: 60_000 });
    expect(await sql(`SELECT FROM "${schema}".task`)).toEqual([]);
    return stored;
  });
  expect(await sql(`SELECT id FROM "${schema}".task`)).toEqual([{ id }]);
});

it('waits for a factory that takes its time', async () => {
  const schema = freshSchema();
  await bootAndGreet(
    BackieModule.forRootAsync({
      useFactory: async () => {
        await sql('SELECT 1');
        return { schema, connection: inject('databaseUrl'), queues: [{ name: 'mail' }] };
      },
    }),
  );
});

it('builds its options with a class of its own', async () => {
  await bootAndGreet(BackieModule.forRootAsync({ imports: [SettingsModule], useClass: OptionsFromSettings }));
});

it('builds its options with a provider that exists already', async () => {
  await bootAndGreet(BackieModule.forRootAsync({ imports: [OptionsModule], useExisting: OptionsFromSettings }));
});

it('makes a named instance', async () => {
  const schema = freshSchema();
  const app = await bootModule(
    moduleOf(
      [],
      [
        BackieModule.forRootAsync({
          name: 'reports',
          useFactory: () => ({ schema, connection: inject('databaseUrl') }),
        }),
      ],
    ),
  );
  const { id } = await app.get<TaskQueue>(getTaskQueueToken('reports')).enqueue('any');
  expect(await sql(`SELECT id FROM "${schema}".task`)).toEqual([{ id }]);
});

it.each([
  ['an option that does not exist', { queue: [] }, /there is no option "queue". Did you mean "queues"\?/],
  ['nothing', undefined, /options must be an object, not undefined/],
])('refuses %s that a factory gives', async (_, options, message) => {
  const booting = bootModule(
    moduleOf([], [BackieModule.forRootAsync({ useFactory: () => options as BackieModuleOptions })]),
  );
  await expect(booting).rejects.toThrow(InvalidOptionsError);
  await expect(booting).rejects.toThrow(message);
});

it('fails to start with the error that its factory throws', async () => {
  const useFactory = () => {
    throw new Error('no settings today');
  };
  await expect(bootModule(moduleOf([], [BackieModule.forRootAsync({ useFactory })]))).rejects.toThrow(
    'no settings today',
  );
});
