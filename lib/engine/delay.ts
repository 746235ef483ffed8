/** Waits. Keeps the process alive: whoever waits still has something to finish. */
export function delay(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
