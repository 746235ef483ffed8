import { BackgroundTask, type BackgroundTaskHandler, PayloadSchemaError } from 'nestjs-backie';
import * as v from 'valibot';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { bootApp, liveTasks, next, shared } from '../../support/app.js';

class Kept {
  readonly payloads: unknown[] = [];

  run(payload: unknown): void {
    this.payloads.push(payload);
  }
}

const zodOrder = z.object({
  email: z.email().transform((email) => email.toLowerCase()),
  count: z.coerce.number().int().min(1).default(1),
  address: z.object({ zip: z.string().length(5) }),
});

@BackgroundTask('zod-order', { schema: zodOrder })
class ZodOrder extends Kept implements BackgroundTaskHandler<z.output<typeof zodOrder>> {}

const valibotOrder = v.object({
  email: v.pipe(v.string(), v.email(), v.toLowerCase()),
  count: v.optional(v.pipe(v.number(), v.minValue(1)), 1),
  address: v.object({ zip: v.pipe(v.string(), v.length(5)) }),
});

@BackgroundTask('valibot-order', { schema: valibotOrder })
class ValibotOrder extends Kept implements BackgroundTaskHandler<v.InferOutput<typeof valibotOrder>> {}

const asynchronous = z.string().refine(async (text) => Promise.resolve(text.startsWith('known')), 'is not known');

@BackgroundTask('asynchronous', { schema: asynchronous, unique: (text) => text.slice(0, 5) })
class Asynchronous extends Kept implements BackgroundTaskHandler<string> {}

const trimmed = z.string().trim().min(1);

@BackgroundTask('trimmed', { schema: trimmed, unique: true })
class Trimmed extends Kept implements BackgroundTaskHandler<string> {}

const context = shared(() => bootApp([ZodOrder, ValibotOrder, Asynchronous, Trimmed]));

describe.each([
  ['zod', ZodOrder],
  ['valibot', ValibotOrder],
])('a %s schema', (_, Order) => {
  const good = { email: 'Ada@Example.org', address: { zip: '12345' } } as never;
  const bad = { email: 'nobody', count: 0, address: { zip: '1' } } as never;

  it('gives what is stored: transformed, with its defaults, without what it does not know', async () => {
    const { app, tasks, events } = context();
    const done = next(events, 'done');
    await tasks.enqueue(Order, { ...(good as object), unknown: true } as never);
    await done;
    const stored = { email: 'ada@example.org', count: 1, address: { zip: '12345' } };
    expect(app.get(Order).payloads).toEqual([stored]);
  });

  it('refuses a payload and lists everything that is wrong with it, with its path', async () => {
    const { tasks, schema } = context();
    const error = await tasks.enqueue(Order, bad).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(PayloadSchemaError);
    const { issues, message } = error as PayloadSchemaError;
    expect(issues).toHaveLength(3);
    expect(message).toMatch(/"(zod|valibot)-order".*email: .*; count: .*; address\.zip: /);
    expect(await liveTasks(schema)).toBe(0);
  });

  it('holds for a bare name too, where the task is registered', async () => {
    const { tasks } = context();
    await expect(tasks.enqueue(Order === ZodOrder ? 'zod-order' : 'valibot-order', bad)).rejects.toThrow(
      PayloadSchemaError,
    );
  });

  it('refuses all of many payloads for one', async () => {
    const { tasks, schema } = context();
    await expect(tasks.enqueueMany(Order, [good, good, bad])).rejects.toThrow(PayloadSchemaError);
    expect(await liveTasks(schema)).toBe(0);
  });
});

it('waits for a schema that is asynchronous', async () => {
  const { tasks } = context();
  await expect(tasks.enqueue(Asynchronous, 'stranger')).rejects.toThrow(/is not known/);
  await expect(tasks.enqueue(Asynchronous, 'known one')).resolves.toMatchObject({ duplicate: false });
});

it('makes the unique key of what the schema gives', async () => {
  const { tasks } = context();
  const first = await tasks.enqueue(Trimmed, 'twice ', { delayMs: 60_000 });
  expect(await tasks.enqueue(Trimmed, '  twice')).toEqual({ id: first.id, duplicate: true });
});
