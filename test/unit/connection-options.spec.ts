import fc from 'fast-check';
import type { DataSource } from 'typeorm';
import { describe, expect, it } from 'vitest';
import { InvalidOptionsError } from '../../lib/errors/configuration.errors.js';
import {
  type ConnectionSource,
  describeTarget,
  engineOptions,
  isDataSource,
  type PostgresOptions,
} from '../../lib/typeorm/connection-options.js';

const dataSourceOf = (options: object) => ({ options, createQueryRunner() {} }) as unknown as DataSource;

describe("the engine's connection", () => {
  it.each<[string, ConnectionSource, object]>([
    ['a URL', 'postgres://localhost/db', { url: 'postgres://localhost/db' }],
    ['TypeORM options', { host: 'h', port: 5, database: 'd' }, { host: 'h', port: 5, database: 'd' }],
    ['a DataSource', dataSourceOf({ type: 'postgres', host: 'h' }), { host: 'h' }],
    [
      'the master of a replication',
      { host: 'unused', replication: { master: { host: 'm' }, slaves: [{ host: 's' }] } },
      { host: 'm' },
    ],
  ])('is made from %s', (_, source, options) => {
    expect(engineOptions(source, 'mine')).toMatchObject({ ...options, type: 'postgres', schema: 'mine' });
    expect(engineOptions(source, 'mine')).not.toHaveProperty('replication');
  });

  it("takes over nothing that belongs to the application's own tables", () => {
    const theirs = {
      type: 'postgres',
      name: 'app',
      schema: 'public',
      entities: [class User {}],
      migrations: ['*.js'],
      subscribers: [class Audit {}],
      synchronize: true,
      dropSchema: true,
      migrationsRun: true,
      installExtensions: true,
      cache: true,
      logging: true,
      poolSize: 100,
      extra: { max: 100, ssl: true },
    };
    expect(engineOptions(dataSourceOf(theirs), 'mine')).toMatchObject({
      name: undefined,
      schema: 'mine',
      entities: [],
      migrations: [],
      subscribers: [],
      synchronize: false,
      dropSchema: false,
      migrationsRun: false,
      installExtensions: false,
      cache: false,
      logging: false,
      poolSize: 6,
      extra: { max: 6, ssl: true, keepAlive: true },
    });
    expect(theirs.poolSize).toBe(100);
  });

  it('keeps the timeout and the name that it is given', () => {
    expect(engineOptions('postgres://localhost/db', 'mine')).toMatchObject({
      connectTimeoutMS: 10_000,
      applicationName: 'nestjs-backie',
    });
    const given = { connectTimeoutMS: 5, applicationName: 'mine' };
    expect(engineOptions(given, 'mine')).toMatchObject(given);
  });

  it.each(['mysql', 'better-sqlite3', 'cockroachdb'])('is refused to %s', (type) => {
    const make = () => engineOptions(dataSourceOf({ type }), 'mine');
    expect(make).toThrow(InvalidOptionsError);
    expect(make).toThrow(`needs TypeORM's driver "postgres", not "${type}"`);
  });
});

describe('a DataSource', () => {
  it('is known by its shape, whatever copy of TypeORM it comes from', () => {
    expect(isDataSource(dataSourceOf({}))).toBe(true);
    expect([null, undefined, 'x', {}, { options: {} }, () => 1].map(isDataSource)).toEqual(Array(6).fill(false));
  });
});

describe('the target in the log', () => {
  const describeUrl = (url: string) => describeTarget({ type: 'postgres', url });

  it.each([
    ['postgres://user:secret@db.example:5433/app?sslmode=require', 'db.example:5433/app'],
    ['postgres://localhost/app', 'localhost/app'],
    ['postgres:///app?host=/run/postgresql', 'localhost/app'],
    ['not a URL with a secret', 'the given URL'],
  ])('of %s is %s', (url, target) => {
    expect(describeUrl(url)).toBe(target);
  });

  it('of options is their host, port and database', () => {
    const options = { type: 'postgres', host: 'h', port: 5, database: 'd', password: 'secret' } as PostgresOptions;
    expect(describeTarget(options)).toBe('h:5/d');
    expect(describeTarget({ type: 'postgres' })).toBe('localhost:5432/');
  });

  it('never shows a password', () => {
    const password = fc.string({ unit: 'grapheme', minLength: 1 }).map((text) => `SECRET${text}`);
    fc.assert(
      fc.property(password, fc.boolean(), (secret, encoded) => {
        const target = describeUrl(`postgres://user:${encoded ? encodeURIComponent(secret) : secret}@host/db`);
        // A password that is not encoded may end the authority: then what follows is taken for the path.
        if (encoded) expect(target).toBe('host/db');
        expect(target).not.toContain('SECRET');
      }),
    );
  });
});
