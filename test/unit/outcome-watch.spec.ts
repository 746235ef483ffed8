import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { OutcomeWatch, type OutcomeWatcher } from '../../lib/engine/outcome-watch.js';
import type { StoreHint, TaskOutcome, TaskStore } from '../../lib/engine/task-store.js';
import { StoreClosedError } from '../../lib/errors/store.errors.js';
import { deferred, ticks, TransientError } from './engine.fixtures.js';

const running: TaskOutcome = { name: 'work', queue: 'default', state: 'running' };
const done: TaskOutcome = { ...running, state: 'done', result: 1 };

describe('a watch over outcomes', () => {
  let outcomes: Map<string, TaskOutcome>;
  let looks: string[][];
  let look: () => Promise<void>;
  let live: boolean;
  let hear: (hint: StoreHint) => void;
  const stop = vi.fn<() => Promise<void>>(async () => {});
  const listen = vi.fn<TaskStore['listen']>();
  let watch: OutcomeWatch;

  beforeEach(() => {
    vi.useFakeTimers();
    vi.spyOn(Math, 'random').mockReturnValue(0.5);
    outcomes = new Map();
    looks = [];
    look = async () => {};
    live = true;
    stop.mockClear();
    listen.mockReset();
    listen.mockImplementation(async (listener) => {
      hear = listener;
      return {
        get live() {
          return live;
        },
        stop,
      };
    });
    const store = {
      listen,
      isTransient: (error: unknown) => error instanceof TransientError,
      async outcomes(ids: readonly string[]) {
        looks.push([...ids]);
        await look();
        return new Map(
          ids.flatMap((id): [string, TaskOutcome][] => (outcomes.has(id) ? [[id, outcomes.get(id)!]] : [])),
        );
      },
    };
    watch = new OutcomeWatch(store as unknown as TaskStore);
  });

  afterEach(async () => {
    await watch.close();
    vi.restoreAllMocks();
    vi.useRealTimers();
  });

  const watcher = () => ({
    told: vi.fn<OutcomeWatcher['told']>(),
    gone: vi.fn<OutcomeWatcher['gone']>(),
    failed: vi.fn<OutcomeWatcher['failed']>(),
  });

  it('looks once for all that come in one breath, and tells each where its task stands', async () => {
    outcomes.set('a', running).set('b', done);
    const [one, two, three] = [watcher(), watcher(), watcher()];
    watch.watch('a', one);
    watch.watch('b', two);
    watch.watch('b', three);
    await ticks();
    expect(looks).toEqual([['a', 'b']]);
    expect(one.told).toHaveBeenCalledExactlyOnceWith(running);
    expect(two.told).toHaveBeenCalledExactlyOnceWith(done);
    expect(three.told).toHaveBeenCalledExactlyOnceWith(done);
  });

  it('looks at what a hint names, and at nothing else', async () => {
    outcomes.set('a', running).set('b', running);
    const one = watcher();
    watch.watch('a', one);
    watch.watch('b', watcher());
    await ticks();
    outcomes.set('a', done);
    hear({ kind: 'ended', id: 'a' });
    hear({ kind: 'ended', id: 'a' });
    hear({ kind: 'ended', id: 'somebody else’s' });
    hear({ kind: 'wake', queue: 'default' });
    await ticks();
    expect(looks).toEqual([['a', 'b'], ['a']]);
    expect(one.told).toHaveBeenLastCalledWith(done);
  });

  it('looks at all after a new connection: what was told meanwhile is lost', async () => {
    outcomes.set('a', running).set('b', running);
    watch.watch('a', watcher());
    watch.watch('b', watcher());
    await ticks();
    hear({ kind: 'wake' });
    await ticks();
    expect(looks).toEqual([
      ['a', 'b'],
      ['a', 'b'],
    ]);
  });

  it('looks again when a hint comes while it looks', async () => {
    outcomes.set('a', running);
    const under = deferred();
    look = () => under.promise;
    const one = watcher();
    watch.watch('a', one);
    await ticks();
    hear({ kind: 'ended', id: 'a' });
    await ticks();
    expect(looks).toHaveLength(1);
    outcomes.set('a', done);
    under.resolve();
    await ticks();
    expect(looks).toHaveLength(2);
    expect(one.told).toHaveBeenLastCalledWith(done);
  });

  it.each([
    ['once a second at most with hints', true, [1_000, 1_500, 2_250, 3_375, 5_000, 5_000]],
    ['ten times a second at most without', false, [100, 150, 225, 337.5, 506.25, 759.375, 1_000, 1_000]],
  ])('polls %s, less and less often, with one statement for all', async (_, hinted, gaps) => {
    live = hinted;
    watch = new OutcomeWatch((watch as unknown as { store: TaskStore }).store);
    watch.watch('z', watcher());
    await ticks();
    for (let i = 0; i < 100; i++) {
      outcomes.set(`${i}`, running);
      watch.watch(`${i}`, watcher());
    }
    await ticks();
    // Until the connection is known to listen, it may poll sooner.
    await vi.advanceTimersByTimeAsync(0);
    looks.length = 0;
    for (const gap of gaps) {
      await vi.advanceTimersByTimeAsync(Math.ceil(gap) + 1);
      expect(looks.length).toBe(1);
      expect(looks[0]!.length).toBeGreaterThanOrEqual(100);
      looks.length = 0;
    }
  });

  it('says that a task is gone when it is missing twice in a row, with how it was seen last', async () => {
    const [never, vanished] = [watcher(), watcher()];
    watch.watch('never', never);
    await ticks();
    expect(looks).toEqual([['never'], ['never']]);
    expect(never.gone).toHaveBeenCalledExactlyOnceWith(undefined);
    outcomes.set('vanished', running);
    watch.watch('vanished', vanished);
    await ticks();
    outcomes.delete('vanished');
    hear({ kind: 'ended', id: 'vanished' });
    await ticks();
    expect(vanished.gone).toHaveBeenCalledExactlyOnceWith(running);
  });

  it('takes a task that is missing once, since it ended within the look, for no lost one', async () => {
    const one = watcher();
    look = async () => {
      if (looks.length === 2) outcomes.set('a', done);
    };
    watch.watch('a', one);
    await ticks();
    expect(one.gone).not.toHaveBeenCalled();
    expect(one.told).toHaveBeenCalledExactlyOnceWith(done);
  });

  it('goes on after the store was away, and says what the trouble is', async () => {
    outcomes.set('a', done);
    const away = new TransientError('away');
    look = () => Promise.reject(away);
    const one = watcher();
    watch.watch('a', one);
    await ticks();
    expect(one.failed).not.toHaveBeenCalled();
    expect(watch.trouble).toBe(away);
    look = async () => {};
    await vi.advanceTimersByTimeAsync(1_500);
    expect(one.told).toHaveBeenCalledWith(done);
    expect(watch.trouble).toBeUndefined();
  });

  it('fails when the store refuses', async () => {
    const refused = new Error('refused');
    look = () => Promise.reject(refused);
    const one = watcher();
    watch.watch('a', one);
    await ticks();
    expect(one.failed).toHaveBeenCalledExactlyOnceWith(refused);
  });

  it('listens only while somebody waits, and a little longer', async () => {
    outcomes.set('a', running);
    const end = watch.watch('a', watcher());
    await ticks();
    expect(listen).toHaveBeenCalledOnce();
    end();
    await vi.advanceTimersByTimeAsync(4_000);
    expect(stop).not.toHaveBeenCalled();
    const again = watch.watch('a', watcher());
    await vi.advanceTimersByTimeAsync(4_000);
    expect(stop).not.toHaveBeenCalled();
    again();
    await vi.advanceTimersByTimeAsync(5_000);
    expect(stop).toHaveBeenCalledOnce();
    expect(listen).toHaveBeenCalledOnce();
    expect(vi.getTimerCount()).toBe(0);
  });

  it('tells everybody when it closes, also those who come later', async () => {
    outcomes.set('a', running);
    const [one, late] = [watcher(), watcher()];
    watch.watch('a', one);
    await ticks();
    await watch.close();
    expect(one.failed).toHaveBeenCalledExactlyOnceWith(expect.any(StoreClosedError));
    watch.watch('a', late);
    await ticks();
    expect(late.failed).toHaveBeenCalledExactlyOnceWith(expect.any(StoreClosedError));
    expect(stop).toHaveBeenCalledOnce();
    expect(vi.getTimerCount()).toBe(0);
  });
});
