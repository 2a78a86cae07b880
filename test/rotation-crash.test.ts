import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { CaConfig } from '#identity/backends/ca-config.ts';
import { parseSpiffeId, parseTrustDomain } from '#policies/spiffe-id.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import { verifyChain } from '#runtime/svid/verify-peer.ts';
import { findBao, startBao } from './bao.ts';
import { readTrace } from './system-call-trace.ts';
import { prepareVaultPki } from './vault-pki.ts';

const { skip } = await findBao();
const fixture = join(import.meta.dirname, 'rotation-crash.fixture.ts');
const directory = mkdtempSync(join(tmpdir(), 'selvedge-crash-'));
after(() => rmSync(directory, { recursive: true }));

/** Runs the fixture to its end or its death. @returns the states that it printed, and the root at the end */
function run(dataDir: string, fatal: string, options: { wrapper?: readonly string[]; successor?: CaConfig } = {}) {
  const { wrapper = [], successor } = options;
  const more = successor === undefined ? [] : [JSON.stringify(successor)];
  const [command = '', ...args] = [...wrapper, process.execPath, fixture, dataDir, fatal, ...more];
  const { stdout, stderr, signal, status } = spawnSync(command, args, { encoding: 'utf8', timeout: 60_000 });
  const said = (key: string): string[] =>
    stdout
      .split('\n')
      .filter((line) => line.startsWith(`${key} `))
      .map((line) => line.slice(key.length + 1));
  return { states: said('state'), root: said('done')[0], killed: signal === 'SIGKILL', status, stderr };
}

const course = ['prepared', 'published', 'seen', 'activated', 'idle'];

describe('a rotation of the root survives kill -9', () => {
  for (const fatal of course) {
    test(`when it was just ${fatal}: the next start goes on from there`, () => {
      const dataDir = join(directory, fatal);
      const first = run(dataDir, fatal);
      assert.ok(first.killed, first.stderr);
      assert.deepEqual(first.states, course.slice(0, course.indexOf(fatal) + 1));
      const journal = JSON.parse(readFileSync(join(dataDir, 'ca', 'journal.json'), 'utf8')) as { state: string };
      assert.equal(journal.state, fatal);
      if (fatal === 'idle') return; // the next start would begin another one
      const second = run(dataDir, '');
      assert.equal(second.status, 0, second.stderr);
      assert.deepEqual(second.states, course.slice(course.indexOf(fatal) + 1), 'no step twice, none left out');
      const pem = readFileSync(join(dataDir, 'ca.pem'), 'utf8');
      assert.equal(certificatesOfPem(pem).length, 1);
      assert.equal(readdirSync(join(dataDir, 'ca')).filter((name) => name.endsWith('.pem')).length, 2);
      const own = JSON.parse(readFileSync(join(dataDir, 'own-svid.json'), 'utf8')) as { chainPem: string };
      const trustDomain = parseTrustDomain('mesh.test');
      const bundle = {
        trustDomain,
        sequence: 1,
        refreshHintSeconds: 60,
        x509Authorities: certificatesOfPem(pem),
        jwtAuthorities: [],
      };
      const trust = {
        own: trustDomain,
        bundleOf: () => bundle,
        isRevoked: () => false,
        onChange: () => () => undefined,
      };
      const { spiffeId } = verifyChain({ chain: certificatesOfPem(own.chainPem), trust, nowMs: Date.now() });
      assert.equal(spiffeId, parseSpiffeId('spiffe://mesh.test/ns/default/dc/dc1/svc/selvedge-identity'));
    });
  }
});

test('a takeover from the embedded CA by Vault survives kill -9 in each of its states, one after the other', {
  skip,
}, async () => {
  await using bao = await startBao();
  const pki = await prepareVaultPki(bao, { trustDomain: 'mesh.test', mode: 'vault-intermediate' });
  const tokenFile = join(directory, 'vault.token');
  writeFileSync(tokenFile, await pki.token());
  const successor: CaConfig = {
    kind: 'vault-intermediate',
    address: bao.address,
    auth: { kind: 'token', tokenFile },
    rootMount: pki.rootMount,
    rootIssuerRef: pki.rootIssuerRef,
  };
  const dataDir = join(directory, 'takeover');
  assert.equal(run(dataDir, '').status, 0); // a mesh with an embedded CA
  for (const fatal of course) {
    const { killed, states, stderr } = run(dataDir, fatal, { successor });
    assert.ok(killed, stderr);
    assert.deepEqual(states, [fatal], 'one step on from where the last one died');
  }
  const end = run(dataDir, '', { successor });
  assert.deepEqual([end.status, end.states], [0, []], end.stderr);
  assert.equal(readFileSync(join(dataDir, 'ca.pem'), 'utf8').trim(), pki.rootPem.trim());
});

test('each state is synced to the disk before anybody hears of it', (t) => {
  if (spawnSync('strace', ['-V']).error !== undefined) {
    assert.notEqual(process.env['CI'], 'true', 'strace is missing (apt-get install strace); in CI this test must run');
    return t.skip('strace is not installed (apt-get install strace)');
  }
  const log = join(directory, 'trace');
  const calls = 'trace=fsync,fdatasync,write';
  const traced = run(join(directory, 'traced'), '', {
    wrapper: ['strace', '-f', '-y', '-s', '200', '-e', calls, '-o', log],
  });
  assert.equal(traced.status, 0, traced.stderr);
  let [written, synced, announced] = [false, 0, 0];
  for (const { name, file, text } of readTrace(readFileSync(log, 'utf8'))) {
    if (/fsync|fdatasync/.test(name) && /\/ca\/journal\.json\..*tmp$/.test(file)) written = true;
    else if (/fsync|fdatasync/.test(name) && file.endsWith('/ca') && written) {
      synced += 1;
      written = false;
    } else if (/"state \w+/.test(text)) {
      announced += 1;
      assert.ok(
        synced > announced,
        `state ${announced} was announced after ${synced} syncs, the first of which made the CA`,
      );
    }
  }
  assert.equal(announced, 5);
  assert.equal(synced, 6);
});
