import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** CPU time in clock ticks that one line of /proc/<pid>/stat accounts for (proc(5)). */
export function ticksOfStat(stat: string): number {
  // The command's name, in parentheses, may hold anything; the fields after the last ")" begin with the third, the state.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // 14 utime, 15 stime: all threads, also ended ones. 16 cutime, 17 cstime: ended children that were waited for.
  const ticks = [14, 15, 16, 17].map((field) => Number(fields[field - 3]));
  const total = ticks.reduce((sum, value) => sum + value, 0);
  if (!Number.isSafeInteger(total)) throw new Error(`not a line of /proc/<pid>/stat: ${stat.slice(0, 80)}`);
  return total;
}

/** Every process below `pid` and itself, by the kernel's list of children of each thread. */
export function processTree(pid: number): number[] {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
  return [pid, ...children.flatMap(processTree)];
}

/** CPU seconds used so far by these processes, their threads and all their children. */
export function cpuSeconds(pids: readonly number[]): number {
  const ticks = pids
    .flatMap(processTree)
    .map((pid) => ticksOfStat(readFileSync(`/proc/${pid}/stat`, 'utf8')))
    .reduce((sum, value) => sum + value, 0);
  return ticks / ticksPerSecond();
}

let knownTicksPerSecond: number | undefined;

function ticksPerSecond(): number {
  knownTicksPerSecond ??= Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));
  return knownTicksPerSecond;
}
