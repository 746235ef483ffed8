/** CPU time from /proc; on other systems nothing is known, and the report says so by leaving it out. */
import { readdirSync, readFileSync } from 'node:fs';

/** Linux counts in hundredths of a second, whatever the kernel's own tick. */
const msPerTick = 10;

/** @param {number | string} pid */
function statOf(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const [utime, stime, cutime, cstime] = fields.slice(11, 15).map(Number);
    return { parent: Number(fields[1]), ownMs: (utime + stime) * msPerTick, endedMs: (cutime + cstime) * msPerTick };
  } catch {
    return undefined;
  }
}

/**
 * Milliseconds of CPU that a process has used with its children, those that have ended included.
 *
 * @param {number | undefined} pid
 */
export function cpuMsOf(pid) {
  const root = pid === undefined ? undefined : statOf(pid);
  if (!root) return undefined;
  let ms = root.ownMs + root.endedMs;
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const stat = statOf(entry);
    if (stat?.parent === pid) ms += stat.ownMs + stat.endedMs;
  }
  return ms;
}

/** Milliseconds that all processors were busy, time stolen by the host included. */
export function machineBusyMs() {
  try {
    const line = readFileSync('/proc/stat', 'utf8').split('\n', 1)[0];
    const [user, nice, system, , , irq, softirq, steal] = line.trim().split(/\s+/).slice(1).map(Number);
    return (user + nice + system + irq + softirq + steal) * msPerTick;
  } catch {
    return undefined;
  }
}
