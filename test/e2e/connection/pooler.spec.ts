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
  const values = (mark: string) => sent.all.filter(({ text }) => text.includes(mark)).map((one) => one.values);
  const [claims, enqueues] = [values('WITH RECURSIVE level("priority") AS'), values('AS "handed_at",')];
  // The last value says whether it need not wait.
  expect(claims.map((each) => each.at(-1))).toContain(false);
  expect(claims.map((each) => each.at(-1))).not.toContain(true);
  expect(enqueues.map((each) => each.at(-1))).toEqual(Array.from({ length: 5 }, () => false));
  expect(values('pg_logical_emit_message')).toEqual([]);
});
