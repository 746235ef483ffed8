/** The tasks of one name and concurrency key on one queue, of which only so many may be under way at once. */
export interface Lane {
  readonly queue: string;
  readonly name: string;
  readonly key: string;
}

/** A lane that is paused. */
export interface PausedLane extends Lane {
  readonly pausedAt: Date;
}

/** As far as lanes are concerned a task is these. */
interface Keyed {
  readonly queue: string;
  readonly name: string;
  readonly lane?: string | null;
}

/** The lane of a task; null for one without a concurrency key. */
export function laneOf({ queue, name, lane }: Keyed): Lane | null {
  return lane == null ? null : { queue, name, key: lane };
}

/** The lanes of tasks, each once. */
export function lanesOf(tasks: readonly Keyed[]): Lane[] {
  const lanes = new Map<string, Lane>();
  for (const task of tasks) {
    const lane = laneOf(task);
    if (lane) lanes.set(laneId(lane), lane);
  }
  return [...lanes.values()];
}

/** One text for one lane, for maps. */
export function laneId({ queue, name, key }: Lane): string {
  return JSON.stringify([queue, name, key]);
}
