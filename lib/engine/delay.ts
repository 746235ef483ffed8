/** The longest that a timer of Node can wait: about 24 days. One that is set for longer fires at once. */
export const maxTimerMs = 2 ** 31 - 1;

/** Waits. Keeps the process alive: whoever waits still has something to finish. */
export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

/** Waits for the promise, at most `ms` milliseconds. */
export async function within(ms: number, promise: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, Math.min(ms, maxTimerMs));
  });
  await Promise.race([promise, timeout]);
  clearTimeout(timer);
}
