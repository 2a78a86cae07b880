import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { waitFor } from '#test/wait-for.ts';
import { systemTimers } from '../timers.ts';
import { runOnce } from './probe-schedule.ts';
import { scriptProbe } from './script-probe.ts';

const running = new AbortController().signal;
const run = (args: readonly [string, ...string[]], timeoutMs = 20_000, maxOutputBytes = 4096) =>
  runOnce(
    scriptProbe({ kind: 'script', args }, { timeoutMs, maxOutputBytes }),
    { timeoutMs, maxOutputBytes },
    systemTimers,
    running,
  );
const sh = (script: string) => ['/bin/sh', '-c', script] as const;

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

describe('script probe', () => {
  it('exit code 0 passes, 1 warns, all else is critical; both outputs are kept', async () => {
    for (const [code, status] of [
      [0, 'passing'],
      [1, 'warning'],
      [2, 'critical'],
      [127, 'critical'],
    ] as const) {
      assert.deepEqual(await run(sh(`echo out; echo err >&2; exit ${code}`)), { status, output: 'out\nerr\n' });
    }
    assert.equal((await run(sh('kill -9 $$'))).status, 'critical');
    assert.match((await run(['/nowhere/no-such-check'])).output, /ENOENT/);
  });

  it('starts the program itself: no shell reads the arguments', async () => {
    const { output } = await run(['/bin/echo', '$HOME; echo', '`id`']);
    assert.equal(output, '$HOME; echo `id`\n');
  });

  it('passes none of the agent’s secrets on', async (t) => {
    process.env['SELVEDGE_JOIN_TOKEN'] = 'secret';
    t.after(() => delete process.env['SELVEDGE_JOIN_TOKEN']);
    const { output } = await run(['/usr/bin/env']);
    assert.match(output, /^PATH=/m);
    assert.doesNotMatch(output, /SELVEDGE|secret/);
  });

  it('keeps the end of what is printed, and says how much there was', async () => {
    const { output } = await run(
      sh('for i in 0 1 2 3 4 5 6 7 8 9; do printf "0123456789%.0s" 1 2 3 4 5 6 7 8 9 0; done; echo END'),
      20_000,
      100,
    );
    assert.ok(output.startsWith('Captured 100 of 1004 bytes\n...\n'), output);
    assert.ok(output.endsWith('END\n'));
    assert.ok(output.length <= 100);
  });

  it('ends the script and all that it started when its time is over', async () => {
    const stop = new AbortController();
    const probe = scriptProbe({ kind: 'script', args: sh('sleep 600 & wait') }, { timeoutMs: 1, maxOutputBytes: 100 });
    const late = await run(sh('sleep 600 & wait'), 100);
    assert.deepEqual(late, { status: 'critical', output: 'no answer within 100 ms' });
    stop.abort(new Error('stopped'));
    await assert.rejects(probe(stop.signal), /stopped/);
    // A script that ends leaves nothing behind either.
    const { output } = await run(sh('sleep 600 >/dev/null 2>&1 & echo $!'));
    await waitFor('the child of the script to end', () => !lives(Number(output)), 10_000);
  });
});
