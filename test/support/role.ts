import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import { sql, whenFinished } from './app.js';

/** A role that may create schemas, with a password that appears nowhere else; it is dropped when the test has finished. */
export async function freshRole(): Promise<{ url: string; name: string; password: string }> {
  const name = `r_${randomBytes(8).toString('hex')}`;
  const password = `pw-${randomBytes(12).toString('hex')}`;
  const url = new URL(inject('databaseUrl'));
  const database = decodeURIComponent(url.pathname.slice(1));
  await sql(`CREATE ROLE ${name} LOGIN PASSWORD '${password}'`);
  await sql(`GRANT CREATE ON DATABASE "${database}" TO ${name}`);
  whenFinished(async () => {
    await sql(`DROP OWNED BY ${name} CASCADE`);
    await sql(`DROP ROLE ${name}`);
  });
  url.username = name;
  url.password = password;
  return { url: url.href, name, password };
}
