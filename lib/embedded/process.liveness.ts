/** Whether a process with this id exists, whoever owns it. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

/**
 * The name of a folder that one process fills and then renames. The process id in it tells the leftovers of a killed
 * process, which the next one removes, from work in progress.
 */
export function draftName(prefix: string): string {
  return `${prefix}.new-${process.pid}-${Math.random().toString(36).slice(2)}`;
}

export function isAbandonedDraft(name: string, prefix: string): boolean {
  const pid = name.startsWith(`${prefix}.new-`) && /-(\d+)-[^-]*$/.exec(name)?.[1];
  return Boolean(pid) && !isAlive(Number(pid));
}
