/** The longest that a timer of Node can wait: about 24 days. One that is set for longer fires at once. */
export const maxTimerMs = 2 ** 31 - 1;

/** Waits. Keeps the process alive: whoever waits still has something to finish. */
export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
