import type { Fault } from '../harness/fault.js';
import { until } from '../harness/polling.js';

export const tenMigrations: Fault = {
  name: 'ten-migrations',
  shows: 'ten processes start on an empty database, and the one that migrates is killed at it',
  async run(harness) {
    // Lets the migration last long enough to be met in the middle.
    await harness.sql(`CREATE FUNCTION public.dawdle() RETURNS event_trigger LANGUAGE plpgsql
      AS 'BEGIN PERFORM pg_sleep(1); END'`);
    await harness.sql(`CREATE EVENT TRIGGER dawdle ON ddl_command_end WHEN TAG IN ('CREATE INDEX')
      EXECUTE FUNCTION public.dawdle()`);
    const apps = Array.from({ length: 10 }, () => harness.spawn());
    const [{ name }] = await until(
      'a migration in the middle',
      () =>
        harness.sql<{ name: string }>(
          `SELECT application_name AS name FROM pg_stat_activity
           WHERE datname = current_database() AND wait_event = 'PgSleep'`,
        ),
      ({ length }) => length > 0,
    );
    const victim = apps.find(({ settings }) => settings.name === name)!;
    await victim.kill();
    await Promise.all(apps.filter((app) => app !== victim).map((app) => app.ready));
    await harness.load({ overMs: 2_000 });
    await harness.loaded;
    harness.expected.duplicates = 0;
  },
};
