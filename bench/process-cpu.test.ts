import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { cpuSeconds, processTree, ticksOfStat } from './process-cpu.ts';

test('ticks are utime, stime and those of waited-for children, whatever the name of the command', () => {
  const before = '42 (a ) b (c) S 1 42 42 0 -1 4194304 100 0 0 0';
  assert.equal(ticksOfStat(`${before} 1 20 300 4000 20 0 1 0 5 6 7`), 4321);
  assert.throws(() => ticksOfStat('nothing'));
});

test('a busy child counts towards its parent, while it runs', { skip: process.platform !== 'linux' }, async () => {
  // A shell that waits for a child which burns CPU until its standard input ends.
  const shell = spawn('sh', ['-c', `"${process.execPath}" -e "$BURN"; true`], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: {
      ...process.env,
      // By what it was given, not by the clock: on a busy machine that is less.
      BURN: 'while (process.cpuUsage().user < 150_000); console.log(1); setInterval(() => {}, 1e6)',
    },
  });
  const pid = shell.pid ?? 0;
  try {
    await once(shell.stdout, 'data');
    assert.equal(processTree(pid).length, 2);
    assert.ok(cpuSeconds([pid]) >= 0.05, 'the CPU time of the child is seen');
  } finally {
    for (const one of processTree(pid).reverse()) process.kill(one);
    await once(shell, 'close');
  }
});
