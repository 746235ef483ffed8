import type { MigrationInterface, QueryRunner } from 'typeorm';
import { defaultSchema, quoteSchema } from '../identifiers.js';
import { readSchemaVersion } from '../schema-version.js';
import { admitLanes, laneLocks } from './admit-lanes.function.js';
import { createClaimLimited, dropClaimLimited } from './claim-limited.function.js';
import { createDeclareLimits, dropDeclareLimits } from './declare-limits.function.js';

/**
 * The first schema.
 *
 * - `task` holds live tasks only, so that it stays small and its indexes hot. A task is ready while `worker_id` is
 *   null. Only the columns in an index cost more than a heap update: keep it that way. `unique_scope` says how it holds its
 *   unique key: null while it lives, `waiting` until its first claim, all others not at all.
 * - `finished_task` holds finished tasks that are kept. It is partitioned by the time until which they stay, so that a
 *   partition whose day is over is dropped whole, whatever was kept for how long. What stays for ever has a partition
 *   of its own; rows for whose day none stands go to the default one, and are deleted there when their time is over.
 * - `worker` holds one lease a process. `lease_until` is in no index, so renewing it is a HOT update.
 * - `queue` holds what is known of a queue beyond the options: whether it is paused, and its limits, those that
 *   applications declare and those that were set at run time, which win; there 0 stands for none.
 * - `task_setting` holds the same for names of tasks.
 * - `rate_bucket` holds what was taken from each bucket of tokens, and when.
 * - `upkeep` holds who does the work that is done once a day.
 * - `unique_window` holds the unique keys that are held for a time, whatever becomes of their tasks.
 * - `paused_lane` holds the concurrency keys that are paused, `lane_lock` the locks of admission; `admit_lanes` is that.
 * - `claim_base` holds the number that claims may not fall below in this run of the server, until it crashes;
 *   `claim_epoch` holds the latest that was given.
 * - `schedule` holds schedules, those that classes declare and those that were made at run time, each with its next tick.
 *
 * In the tables of tasks the columns that have always a value of one size come first, then the others that always have
 * one, then those that may be null: PostgreSQL knows where the first ones of a row stand, and must look for the others.
 *
 * Primary and unique keys carry the queue, so that the tables can be distributed by it.
 */
export function createBackie(schema: string): new () => MigrationInterface {
  const s = quoteSchema(schema);
  // TypeORM wants names that are unique and end in a time: an application may spread those of two schemas.
  const of = schema === defaultSchema ? '' : `_${schema.replaceAll(/\W/g, '_')}_`;
  return class CreateBackie implements MigrationInterface {
    readonly name = `CreateBackie${of}1767225600000`;

    async up(runner: QueryRunner): Promise<void> {
      // An application may have let the module migrate first, and spread the migrations into its own only later.
      if ((await readSchemaVersion(runner, schema)) >= 1) return;
      // Even IF NOT EXISTS needs the right to create schemas, which a role that was given this one may lack.
      const there: unknown[] = await runner.query(`SELECT FROM pg_namespace WHERE nspname = $1`, [schema]);
      if (there.length === 0) await runner.query(`CREATE SCHEMA IF NOT EXISTS ${s}`);
      await runner.query(`
        CREATE TABLE ${s}."task" (
          "id" uuid NOT NULL,
          "scheduled_at" timestamptz NOT NULL DEFAULT statement_timestamp(),
          "created_at" timestamptz NOT NULL DEFAULT statement_timestamp(),
          "claim_seq" bigint NOT NULL DEFAULT 0,
          "attempt" integer NOT NULL DEFAULT 0,
          "retries" integer NOT NULL DEFAULT 0,
          "crashes" integer NOT NULL DEFAULT 0,
          "priority" smallint NOT NULL DEFAULT 0,
          "claimed_ahead" boolean NOT NULL DEFAULT false,
          "awaited" boolean NOT NULL DEFAULT false,
          "queue" text NOT NULL,
          "name" text NOT NULL,
          "payload" jsonb NOT NULL,
          "attempts" jsonb NOT NULL DEFAULT '[]',
          "worker_id" uuid,
          "started_at" timestamptz,
          "max_retries" integer,
          "timeout_ms" integer,
          "cancel_keep_ms" double precision,
          "expires_at" timestamptz,
          "unique_key" text,
          "unique_scope" text,
          "rate_key" text,
          "lane" text,
          "lane_limit" integer,
          "due_at" timestamptz,
          "sent_on_from" timestamptz,
          CONSTRAINT "task_pkey" PRIMARY KEY ("id", "queue")
        )`);
      await runner.query(
        `COMMENT ON COLUMN ${s}."task"."cancel_keep_ms" IS ` +
          `'Set when a running task is to be cancelled: for how long the cancelled task stays, 0 being not at all'`,
      );
      await runner.query(`
        CREATE INDEX "task_ready" ON ${s}."task" ("queue", "priority" DESC, "scheduled_at", "id")
        WHERE "worker_id" IS NULL`);
      await runner.query(`
        CREATE INDEX "task_running" ON ${s}."task" ("worker_id", "queue") WHERE "worker_id" IS NOT NULL`);
      await runner.query(`
        CREATE INDEX "task_crashed" ON ${s}."task" ("queue", "scheduled_at", "id")
        WHERE "worker_id" IS NULL AND "crashes" > 0`);
      await runner.query(`
        CREATE UNIQUE INDEX "task_unique" ON ${s}."task" ("queue", "name", "unique_key")
        WHERE "unique_key" IS NOT NULL
          AND ("unique_scope" IS NULL OR "unique_scope" = 'waiting' AND "claim_seq" = 0)`);
      await runner.query(`
        CREATE INDEX "task_expiry" ON ${s}."task" ("expires_at")
        WHERE "worker_id" IS NULL AND "attempt" = 0 AND "expires_at" IS NOT NULL`);
      await runner.query(
        `COMMENT ON COLUMN ${s}."task"."due_at" IS ` +
          `'Set while the task is parked in its lane, its scheduled_at being infinity: when it is due'`,
      );
      await runner.query(
        `COMMENT ON COLUMN ${s}."task"."sent_on_from" IS ` +
          `'When the task was due before a rate limit without a token for it moved its scheduled_at'`,
      );
      await runner.query(`
        CREATE INDEX "task_parked" ON ${s}."task"
          ("queue", "name", "lane", least("claim_seq", 1) DESC, "priority" DESC, "due_at", "id")
        WHERE "due_at" IS NOT NULL`);
      await runner.query(`
        CREATE INDEX "task_admitted" ON ${s}."task" ("queue", "name", "lane")
        WHERE "lane" IS NOT NULL AND "due_at" IS NULL`);
      // A queue's table turns over completely: by the default 20 % of a large table, autovacuum would come far too late.
      await runner.query(`
        ALTER TABLE ${s}."task" SET (
          autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
          autovacuum_analyze_scale_factor = 0.05, autovacuum_analyze_threshold = 1000
        )`);
      await runner.query(`
        CREATE TABLE ${s}."finished_task" (
          "id" uuid NOT NULL,
          "scheduled_at" timestamptz NOT NULL,
          "created_at" timestamptz NOT NULL,
          "finished_at" timestamptz NOT NULL DEFAULT statement_timestamp(),
          "kept_until" timestamptz NOT NULL,
          "claim_seq" bigint NOT NULL,
          "attempt" integer NOT NULL,
          "retries" integer NOT NULL,
          "crashes" integer NOT NULL,
          "priority" smallint NOT NULL,
          "queue" text NOT NULL,
          "name" text NOT NULL,
          "state" text NOT NULL,
          "payload" jsonb NOT NULL,
          "attempts" jsonb NOT NULL,
          "worker_id" uuid,
          "started_at" timestamptz,
          "max_retries" integer,
          "timeout_ms" integer,
          "expires_at" timestamptz,
          "reason" text,
          "unique_key" text,
          "unique_scope" text,
          "rate_key" text,
          "lane" text,
          "lane_limit" integer,
          "dead_from" text,
          "result" jsonb,
          CONSTRAINT "finished_task_pkey" PRIMARY KEY ("id", "queue", "kept_until"),
          CONSTRAINT "finished_task_state" CHECK ("state" IN ('done', 'failed', 'cancelled'))
        ) PARTITION BY RANGE ("kept_until")`);
      // What is no dead letter has no place in it.
      await runner.query(`
        CREATE INDEX "finished_task_dead" ON ${s}."finished_task" ("queue", "id") WHERE "dead_from" IS NOT NULL`);
      await runner.query(`
        CREATE TABLE ${s}."finished_task_forever" PARTITION OF ${s}."finished_task"
        FOR VALUES FROM ('infinity') TO (MAXVALUE)`);
      await runner.query(`CREATE TABLE ${s}."finished_task_default" PARTITION OF ${s}."finished_task" DEFAULT`);
      // Only there are rows looked for by their time.
      await runner.query(`
        CREATE INDEX "finished_task_default_kept_until" ON ${s}."finished_task_default" ("kept_until")`);
      await runner.query(`
        CREATE TABLE ${s}."upkeep" (
          "day" date NOT NULL,
          "job" text NOT NULL,
          "holder" uuid NOT NULL,
          "taken_at" timestamptz NOT NULL DEFAULT now(),
          "finished_at" timestamptz,
          CONSTRAINT "upkeep_pkey" PRIMARY KEY ("day", "job")
        )`);
      await runner.query(`
        CREATE TABLE ${s}."worker" (
          "id" uuid NOT NULL,
          "host" text NOT NULL,
          "pid" integer NOT NULL,
          "version" text NOT NULL,
          "queues" jsonb NOT NULL,
          "started_at" timestamptz NOT NULL DEFAULT now(),
          "lease_until" timestamptz NOT NULL,
          CONSTRAINT "worker_pkey" PRIMARY KEY ("id")
        ) WITH (fillfactor = 50)`);
      await runner.query(`
        CREATE TABLE ${s}."queue" (
          "name" text NOT NULL,
          "paused_at" timestamptz,
          "concurrency" integer,
          "global_concurrency" integer,
          "rate_max" integer,
          "rate_per_ms" bigint,
          "declared_global_concurrency" integer,
          "declared_rate_max" integer,
          "declared_rate_per_ms" bigint,
          "rated_tasks" boolean NOT NULL DEFAULT false,
          "limited" boolean NOT NULL GENERATED ALWAYS AS (
            "rated_tasks" OR coalesce("global_concurrency", "declared_global_concurrency", 0) > 0
              OR coalesce("rate_max", "declared_rate_max", 0) > 0
          ) STORED,
          CONSTRAINT "queue_pkey" PRIMARY KEY ("name")
        )`);
      await runner.query(
        `COMMENT ON COLUMN ${s}."queue"."limited" IS ` +
          `'Only claim_limited() may claim from it then; rated_tasks: a task is at home there that has a rate limit'`,
      );
      await runner.query(`
        CREATE TABLE ${s}."task_setting" (
          "name" text NOT NULL,
          "paused_at" timestamptz,
          "queue" text,
          "rate_max" integer,
          "rate_per_ms" bigint,
          CONSTRAINT "task_setting_pkey" PRIMARY KEY ("name")
        )`);
      await runner.query(`
        CREATE TABLE ${s}."rate_bucket" (
          "kind" text NOT NULL,
          "name" text NOT NULL,
          "key" text NOT NULL,
          "taken_at" timestamptz[] NOT NULL DEFAULT '{}',
          "taken" integer[] NOT NULL DEFAULT '{}',
          "full_at" timestamptz NOT NULL DEFAULT now(),
          "line_at" timestamptz,
          "line_id" uuid,
          "line_priority" smallint,
          CONSTRAINT "rate_bucket_pkey" PRIMARY KEY ("kind", "name", "key")
        ) WITH (fillfactor = 50)`);
      await runner.query(`
        CREATE TABLE ${s}."claim_epoch" (
          "number" integer NOT NULL,
          "one" boolean NOT NULL DEFAULT true,
          CONSTRAINT "claim_epoch_pkey" PRIMARY KEY ("one"),
          CONSTRAINT "claim_epoch_one" CHECK ("one")
        )`);
      await runner.query(`CREATE DOMAIN ${s}."claim_number" AS bigint NOT NULL`);
      // Whatever is in an unlogged table is gone after a crash, and on a standby that takes over. And a row is of one run of
      // one server: a copy of the tables has it still, and several servers may share them.
      await runner.query(`
        CREATE UNLOGGED TABLE ${s}."claim_base" (
          "base" bigint NOT NULL,
          "since" timestamptz NOT NULL DEFAULT clock_timestamp(),
          "server" timestamptz NOT NULL DEFAULT pg_postmaster_start_time(),
          CONSTRAINT "claim_base_pkey" PRIMARY KEY ("server")
        )`);
      await runner.query(`INSERT INTO ${s}."claim_base" ("base", "since") VALUES (0, '-infinity')`);
      await runner.query(createClaimLimited(schema));
      await runner.query(createDeclareLimits(schema));
      await runner.query(`
        CREATE TABLE ${s}."unique_window" (
          "queue" text NOT NULL,
          "name" text NOT NULL,
          "unique_key" text NOT NULL,
          "task_id" uuid NOT NULL,
          "until" timestamptz NOT NULL,
          CONSTRAINT "unique_window_pkey" PRIMARY KEY ("queue", "name", "unique_key")
        )`);
      await runner.query(`CREATE INDEX "unique_window_over" ON ${s}."unique_window" ("until")`);
      await runner.query(`
        CREATE TABLE ${s}."paused_lane" (
          "queue" text NOT NULL,
          "name" text NOT NULL,
          "lane" text NOT NULL,
          "paused_at" timestamptz NOT NULL DEFAULT now(),
          CONSTRAINT "paused_lane_pkey" PRIMARY KEY ("queue", "name", "lane")
        )`);
      await runner.query(`
        CREATE TABLE ${s}."lane_lock" (
          "bucket" integer NOT NULL,
          CONSTRAINT "lane_lock_pkey" PRIMARY KEY ("bucket")
        )`);
      await runner.query(`INSERT INTO ${s}."lane_lock" SELECT generate_series(0, ${laneLocks - 1})`);
      await runner.query(admitLanes(s));
      await runner.query(`
        CREATE TABLE ${s}."schedule" (
          "name" text NOT NULL,
          "task" text NOT NULL,
          "queue" text NOT NULL,
          "cron" text NOT NULL,
          "time_zone" text NOT NULL,
          "catch_up" text NOT NULL,
          "payload" jsonb NOT NULL,
          "priority" smallint NOT NULL,
          "max_retries" integer,
          "timeout_ms" integer,
          "declared" boolean NOT NULL,
          "revision" integer NOT NULL DEFAULT 1,
          "paused_at" timestamptz,
          "next_at" timestamptz,
          "last_at" timestamptz,
          "ended_at" timestamptz,
          "created_at" timestamptz NOT NULL DEFAULT now(),
          CONSTRAINT "schedule_pkey" PRIMARY KEY ("name")
        )`);
      await runner.query(`
        CREATE INDEX "schedule_next" ON ${s}."schedule" ("next_at") WHERE "paused_at" IS NULL`);
      await runner.query(`COMMENT ON TABLE ${s}."task" IS 'nestjs-backie schema 1'`);
    }

    async down(runner: QueryRunner): Promise<void> {
      await runner.query(dropClaimLimited(schema));
      await runner.query(dropDeclareLimits(schema));
      await runner.query(`DROP FUNCTION ${s}."admit_lanes"`);
      await runner.query(`DROP DOMAIN ${s}."claim_number"`);
      for (const table of [
        'upkeep',
        'schedule',
        'claim_base',
        'claim_epoch',
        'rate_bucket',
        'task_setting',
        'lane_lock',
        'paused_lane',
        'unique_window',
        'queue',
        'worker',
        'finished_task',
        'task',
      ]) {
        await runner.query(`DROP TABLE ${s}."${table}"`);
      }
    }
  };
}
