import { expect, it } from 'vitest';
import { startProxy } from '../../fixtures/proxy.js';
import { bootApp, runTask } from '../../support/app.js';
import { sentStatements } from '../../support/sent-statements.js';
import { taskOf } from '../../support/tasks.js';

it('has each commit wait for the disk behind a pooler, where a flush may reach the session of a server that has crashed since', async () => {
  const proxy = await startProxy('pooled');
  const sent = sentStatements();
  const Work = taskOf('work', () => {});
  const { tasks, events } = await bootApp([Work], { connection: proxy.url });
  for (let i = 0; i < 5; i++) await runTask({ tasks, events }, Work);
  const holding = (text: string) => sent.all.filter((one) => one.text.includes(text));
  const [ahead, durable] = [holding(`set_config('synchronous_commit', 'off', true)`), holding('SET LOCAL')];
  const claims = ahead.filter(({ name }) => name === 'WITH');
  // An enqueue that is handed to nobody and wakes nobody waits for the disk by itself.
  const enqueues = ahead.filter(({ name, values }) => name === 'INSERT' && (values[9] ?? values[10]));
  expect(claims.length).toBeGreaterThan(0);
  expect(enqueues).toHaveLength(5);
  expect(durable).toHaveLength(claims.length + enqueues.length);
  expect(durable[0]!.text).toBe('SET LOCAL synchronous_commit TO DEFAULT');
  expect(holding('pg_logical_emit_message')).toEqual([]);
});
