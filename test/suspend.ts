import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';

/**
 * SIGSTOP, and waits until no thread of the process runs any more. The signal alone takes effect when the kernel next schedules one of its threads; on a busy
 * machine the others have answered another request by then.
 */
export function suspend(pid: number): void {
  process.kill(pid, 'SIGSTOP');
  const tasks = `/proc/${pid}/task`;
  if (!existsSync(tasks)) return; // no Linux: nothing says when
  const sleeper = new Int32Array(new SharedArrayBuffer(4));
  for (
    const deadline = Date.now() + 20_000;
    !readdirSync(tasks).every((task) => isStopped(`${tasks}/${task}/stat`));
  ) {
    assert.ok(Date.now() < deadline, `process ${pid} still runs 20 s after SIGSTOP`);
    Atomics.wait(sleeper, 0, 0, 1);
  }
}

/** Its state stands behind the name, which may hold anything (proc(5)). A thread that has just ended has no file. */
function isStopped(stat: string): boolean {
  try {
    return readFileSync(stat, 'utf8').split(') ').at(-1)?.startsWith('T') === true;
  } catch {
    return true;
  }
}
