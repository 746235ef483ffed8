import { Injectable, Module, type ModuleMetadata, Scope, type Type } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  BackgroundTask,
  type BackgroundTaskHandler,
  BackieModule,
  DuplicateTaskNameError,
  MissingHandlerError,
  QueueNotConfiguredError,
  TaskEvents,
  TaskQueue,
} from 'nestjs-backie';
import { describe, expect, inject, it, vi } from 'vitest';
import { bootApp, freshSchema, next, runTask, sql, whenFinished } from '../../support/app.js';

@Injectable()
class Journal {
  readonly entries: string[] = [];
}

@BackgroundTask('note')
class Note implements BackgroundTaskHandler<string> {
  constructor(protected readonly journal: Journal) {}

  run(text: string): void {
    this.journal.entries.push(`note: ${text}`);
  }
}

@Injectable({ scope: Scope.REQUEST })
@BackgroundTask('scoped-note')
class ScopedNote extends Note {
  override run(text: string): void {
    this.journal.entries.push(`scoped note: ${text}`);
  }
}

/** Says nothing of a task: it takes its parent's place. */
@Injectable()
class LoudNote extends Note {
  override run(text: string): void {
    this.journal.entries.push(`NOTE: ${text}`);
  }
}

@BackgroundTask('quiet-note')
class QuietNote extends Note {
  override run(text: string): void {
    this.journal.entries.push(`(note: ${text})`);
  }
}

/** Boots these providers, runs one task and gives what was written down. */
async function journalOf(
  providers: ModuleMetadata['providers'],
  task: Type<BackgroundTaskHandler<string>> | string = Note,
): Promise<string[]> {
  const app = await bootApp([Journal, ...(providers ?? [])]);
  await runTask(app, task, 'milk');
  return app.app.get(Journal).entries;
}

describe('a handler is found when it is provided', () => {
  it.each<[string, NonNullable<ModuleMetadata['providers']>]>([
    ['as a class', [Note]],
    ['by useClass under a token', [{ provide: 'NOTE', useClass: Note }]],
    ['by useFactory under its class', [{ provide: Note, inject: [Journal], useFactory: (j: Journal) => new Note(j) }]],
    ['by useFactory under a token', [{ provide: 'NOTE', inject: [Journal], useFactory: (j: Journal) => new Note(j) }]],
    [
      'by an asynchronous factory',
      [{ provide: 'NOTE', inject: [Journal], useFactory: async (j: Journal) => new Note(j) }],
    ],
    ['with aliases beside it', [Note, { provide: 'A', useExisting: Note }, { provide: 'B', useExisting: Note }]],
  ])('%s', async (_, providers) => {
    expect(await journalOf(providers)).toEqual(['note: milk']);
  });

  it('by useValue under a token', async () => {
    const journal = new Journal();
    await journalOf([{ provide: 'NOTE', useValue: new Note(journal) }]);
    expect(journal.entries).toEqual(['note: milk']);
  });

  it('by useValue under its class, as a test does it', async () => {
    const run = vi.fn();
    await journalOf([{ provide: Note, useValue: { run } }]);
    expect(run).toHaveBeenCalledExactlyOnceWith('milk', expect.objectContaining({ name: 'note', attempt: 1 }));
  });

  it('request-scoped, by useClass under a token and with an alias', async () => {
    const providers = [
      { provide: 'NOTE', useClass: ScopedNote },
      { provide: 'ALIAS', useExisting: 'NOTE' },
    ];
    expect(await journalOf(providers, ScopedNote)).toEqual(['scoped note: milk']);
  });

  it('in several modules at once, and it still runs once', async () => {
    @Module({ providers: [Journal, Note], exports: [Note] })
    class FirstModule {}
    @Module({ providers: [Journal, Note] })
    class SecondModule {}
    const app = await bootApp([], {}, [FirstModule, SecondModule]);
    await runTask(app, Note, 'milk');
    const entries = [FirstModule, SecondModule].flatMap(
      (module) => app.app.select(module).get(Journal, { strict: true }).entries,
    );
    expect(entries).toEqual(['note: milk']);
  });
});

it('is found although another provider enqueued it by name before it was created', async () => {
  const journal = new Journal();
  const { pool, events } = await bootApp(
    [
      { provide: 'EARLY', inject: [TaskQueue], useFactory: (tasks: TaskQueue) => tasks.enqueue('note', 'early') },
      { provide: 'NOTE', inject: ['EARLY'], useFactory: () => new Note(journal) },
    ],
    { workers: false },
  );
  const done = next(events, 'done');
  await pool.start();
  await done;
  expect(journal.entries).toEqual(['note: early']);
});

describe('a subclass of a task', () => {
  it('takes its place when it is provided instead', async () => {
    expect(await journalOf([LoudNote], Note)).toEqual(['NOTE: milk']);
  });

  it('takes its place by useClass', async () => {
    expect(await journalOf([{ provide: Note, useClass: LoudNote }], Note)).toEqual(['NOTE: milk']);
  });

  it('takes its place when its token is an alias of the subclass', async () => {
    expect(await journalOf([LoudNote, { provide: Note, useExisting: LoudNote }], Note)).toEqual(['NOTE: milk']);
  });

  it('is enqueued under the name that it inherits', async () => {
    expect(await journalOf([LoudNote], LoudNote)).toEqual(['NOTE: milk']);
  });

  it('is a task of its own when it has a decorator of its own', async () => {
    const app = await bootApp([Journal, Note, QuietNote]);
    await runTask(app, Note, 'milk');
    await runTask(app, QuietNote, 'eggs');
    expect(app.app.get(Journal).entries).toEqual(['note: milk', '(note: eggs)']);
  });
});

describe('overrideProvider in a test', () => {
  async function bootOverriding(override: (builder: ReturnType<typeof Test.createTestingModule>) => void) {
    const backie = BackieModule.forRoot({ connection: inject('databaseUrl'), schema: freshSchema() });
    const builder = Test.createTestingModule({ imports: [backie], providers: [Journal, Note, ScopedNote] });
    override(builder);
    const app = await builder.compile();
    app.useLogger(false);
    whenFinished(() => app.close());
    await app.init();
    return { app, tasks: app.get(TaskQueue), events: app.get(TaskEvents) };
  }

  it('replaces a handler by a value', async () => {
    const run = vi.fn();
    const app = await bootOverriding((builder) => builder.overrideProvider(Note).useValue({ run }));
    await runTask(app, Note, 'milk');
    expect(run).toHaveBeenCalledExactlyOnceWith('milk', expect.objectContaining({ name: 'note' }));
  });

  it.each([
    ['static', Note],
    ['request-scoped', ScopedNote],
  ])('replaces a %s handler by a class that is no task itself', async (_, task) => {
    @Injectable()
    class Fake {
      constructor(private readonly journal: Journal) {}

      run(text: string): void {
        this.journal.entries.push(`fake: ${text}`);
      }
    }
    const app = await bootOverriding((builder) => builder.overrideProvider(task).useClass(Fake));
    await runTask(app, task, 'milk');
    expect(app.app.get(Journal).entries).toEqual(['fake: milk']);
  });

  it('replaces a handler by a factory', async () => {
    const run = vi.fn();
    const app = await bootOverriding((builder) =>
      builder.overrideProvider(Note).useFactory({ factory: () => ({ run }) }),
    );
    await runTask(app, Note, 'milk');
    expect(run).toHaveBeenCalledOnce();
  });

  it('lets a test spy on the instance after the start', async () => {
    const app = await bootOverriding(() => {});
    const run = vi.spyOn(app.app.get(Note), 'run').mockReturnValue();
    await runTask(app, Note, 'milk');
    expect(run).toHaveBeenCalledOnce();
    expect(app.app.get(Journal).entries).toEqual([]);
  });
});

describe('the application does not start', () => {
  it('when two providers declare one name, which are named', async () => {
    @BackgroundTask('note')
    class OtherNote implements BackgroundTaskHandler {
      run(): void {}
    }
    const booting = bootApp([Journal, Note, OtherNote]);
    await expect(booting).rejects.toThrow(DuplicateTaskNameError);
    await expect(booting).rejects.toThrow(/"note".*\bNote\b.*\bOtherNote\b/);
  });

  it('when a subclass without a name of its own stands beside its parent', async () => {
    const booting = bootApp([Journal, Note, LoudNote]);
    await expect(booting).rejects.toThrow(DuplicateTaskNameError);
    await expect(booting).rejects.toThrow(/"note".*\bNote\b.*\bLoudNote\b/);
  });

  it('when a task has no run(), which is named', async () => {
    // @ts-expect-error The compiler says so too.
    @BackgroundTask('lazy')
    class Lazy {}
    const booting = bootApp([Lazy]);
    await expect(booting).rejects.toThrow(MissingHandlerError);
    await expect(booting).rejects.toThrow(/Lazy.*"lazy".*run\(\)/);
  });

  it("when a value in a task's place has no run()", async () => {
    await expect(bootApp([{ provide: Note, useValue: { runs: 1 } }])).rejects.toThrow(MissingHandlerError);
  });

  it('when a task runs on a queue that is not configured; both are named, and the fix', async () => {
    @BackgroundTask('first-letter', { queue: 'email' })
    class First implements BackgroundTaskHandler {
      run(): void {}
    }
    @BackgroundTask('second-letter', { queue: 'email' })
    class Second implements BackgroundTaskHandler {
      run(): void {}
    }
    const booting = bootApp([First, Second], { queues: [{ name: 'emails' }] });
    await expect(booting).rejects.toThrow(QueueNotConfiguredError);
    await expect(booting).rejects.toThrow(/"email".*"first-letter", "second-letter".*\{ name: "email" \}/);
  });

  it('and leaves no connection open then', async () => {
    @BackgroundTask('letter', { queue: 'email' })
    class Letter implements BackgroundTaskHandler {
      run(): void {}
    }
    const url = new URL(inject('databaseUrl'));
    const name = `failed start ${freshSchema()}`.slice(0, 60);
    url.searchParams.set('application_name', name);
    await expect(bootApp([Letter], { connection: url.href })).rejects.toThrow(QueueNotConfiguredError);
    expect(await sql(`SELECT FROM pg_stat_activity WHERE application_name = $1`, [name])).toEqual([]);
  });
});

it('fails an attempt whose handler, made for it, has no run()', async () => {
  class Lazy {}
  BackgroundTask('lazy')(Lazy as unknown as Type<BackgroundTaskHandler>);
  Injectable({ scope: Scope.REQUEST })(Lazy);
  const { tasks, events } = await bootApp([Lazy]);
  const failed = next(events, 'failed');
  await tasks.enqueue('lazy', null, { maxRetries: 0 });
  const [{ error }] = await failed;
  expect(error).toBeInstanceOf(MissingHandlerError);
  expect(String(error)).toMatch(/Lazy.*"lazy".*run\(\)/);
});

describe('a process', () => {
  it("works the queue 'default' beside those that it names", async () => {
    const app = await bootApp([Journal, Note], { queues: [{ name: 'email' }] });
    expect(app.pool.status().queues.map(({ name }) => name)).toEqual(['default', 'email']);
    await runTask(app, Note, 'milk');
    expect(app.app.get(Journal).entries).toEqual(['note: milk']);
  });

  it("takes what it is told of the queue 'default'", async () => {
    const { pool } = await bootApp([Journal, Note], { queues: [{ name: 'default', concurrency: 3 }] });
    expect(pool.status().queues).toEqual([expect.objectContaining({ name: 'default', concurrency: 3 })]);
  });

  it('leaves tasks of unknown names untouched, and another process runs them later', async () => {
    const first = await bootApp([Journal, Note]);
    const { schema } = first;
    const unknown = await first.tasks.enqueueMany('quiet-note', ['eggs', 'bread']);
    await runTask(first, Note, 'milk');
    for (const { id } of unknown) {
      expect(await first.tasks.find(id)).toMatchObject({ state: 'ready', attempt: 0, claimSeq: 0, queue: 'default' });
    }
    const second = await bootApp([Journal, QuietNote], { schema, workers: false });
    const done = next(second.events, 'done', 2);
    await second.pool.start();
    expect((await done).map(({ id }) => id).toSorted()).toEqual(unknown.map(({ id }) => id).toSorted());
    expect(second.app.get(Journal).entries.toSorted()).toEqual(['(note: bread)', '(note: eggs)']);
    expect(first.app.get(Journal).entries).toEqual(['note: milk']);
  });
});
