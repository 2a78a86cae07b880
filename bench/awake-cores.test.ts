import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { waitFor } from '#test/wait-for.ts';
import { keepCoresAwake } from './awake-cores.ts';
import { createProcessGroup } from './processes.ts';

/** The policy is the 41st field (proc(5)); those after the last ")" begin with the third. */
const policyOf = (stat: string): number => Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[38]);
/** SCHED_IDLE. */
const idlePolicy = 5;

test('each core has a process that yields to everybody else', { skip: process.platform !== 'linux' }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-awake-'));
  const processes = createProcessGroup(directory);
  const started: number[] = [];
  try {
    keepCoresAwake({
      ...processes,
      start(...args) {
        const one = processes.start(...args);
        started.push(one.pid);
        return one;
      },
    });
    assert.equal(started.length, cpus().length);
    for (const pid of started) {
      const stat = (): string => readFileSync(`/proc/${pid}/stat`, 'utf8');
      await waitFor('its policy', () => policyOf(stat()) === idlePolicy);
    }
  } finally {
    await processes.stopAll();
    rmSync(directory, { recursive: true, force: true });
  }
});
