import { parseArgs } from 'node:util';

export const usage = `npm run bench -- [options]

  --quick              W1, W2, W3 with 20,000, W4: about three minutes
  --only W3,W4         these workloads, or single cases of them: W3.20k
  --adapters a,b       these queues (--list names them)
  --reps N             how often each measurement is made, but for the longest (default 3, with --quick 1)
  --scale F            every size times F: 0.01 tries the harness out
  --quiet-wait S       before each measurement wait until nobody else uses the machine, at most S seconds (default 0)
  --json FILE          the results with every single measurement
  --markdown FILE      the report
  --readme             the report's first table, in short, into the README
  --from FILE          measures nothing: reports what an earlier --json holds
  --pg-bin DIR         the PostgreSQL to start (default: Debian's 15 if it is there, else the npm binaries)
  --redis-bin FILE     the Redis to start (default: what answers on 127.0.0.1:6379, else Debian's if it is there)
  --library DIR        measure another checkout of nestjs-backie
  --beside DIR         measure a second checkout as well, as the queue backie-beside
  --cpu-prof DIR       write a CPU profile of each process, for Chrome's developer tools; it slows them down
  --statements         load pg_stat_statements and report the statements that took most of the time
  --list               name workloads and queues

BENCH_DATABASE_URL names a PostgreSQL to use, REDIS_URL a Redis with an empty database.`;

/** @param {string[]} args */
export function readOptions(args) {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string' },
      adapters: { type: 'string' },
      reps: { type: 'string' },
      scale: { type: 'string', default: '1' },
      'quiet-wait': { type: 'string', default: '0' },
      json: { type: 'string' },
      markdown: { type: 'string' },
      readme: { type: 'boolean', default: false },
      from: { type: 'string' },
      'pg-bin': { type: 'string' },
      'redis-bin': { type: 'string' },
      library: { type: 'string' },
      beside: { type: 'string' },
      'cpu-prof': { type: 'string' },
      statements: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  return {
    quick: values.quick,
    only: values.only?.split(','),
    adapters: values.adapters?.split(','),
    reps: Number(values.reps ?? (values.quick ? 1 : 3)),
    scale: Number(values.scale),
    quietWaitMs: Number(values['quiet-wait']) * 1000,
    json: values.json,
    markdown: values.markdown,
    readme: values.readme,
    from: values.from,
    pgBin: values['pg-bin'],
    redisBin: values['redis-bin'],
    library: values.library,
    beside: values.beside,
    cpuProf: values['cpu-prof'],
    statements: values.statements,
    list: values.list,
    help: values.help,
  };
}

/** @typedef {ReturnType<typeof readOptions>} Options */
