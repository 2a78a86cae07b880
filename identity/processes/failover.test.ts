import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, symlinkSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { credentials } from '@grpc/grpc-js';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import type { Issued } from '#policies/wire/identity-api.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { makeCsr } from '#runtime/svid/csr.ts';
import { IdentityClient } from '#runtime/svid/identity-client.ts';
import { IdentityEndpoints } from '#runtime/svid/identity-endpoints.ts';
import { makeKeyPair } from '#runtime/svid/node-key.ts';
import { openNodeState } from '#runtime/svid/node-state.ts';
import type { TrustStore } from '#runtime/svid/trust-store.ts';
import { openEtcdStore } from '#store/etcd/etcd-store.ts';
import { Child } from '#test/child.ts';
import { type EtcdCluster, findEtcd, startEtcd } from '#test/etcd.ts';
import { freePorts } from '#test/free-ports.ts';
import { runSelvedge } from '#test/mesh-processes.ts';
import { suspend } from '#test/suspend.ts';
import { waitFor } from '#test/wait-for.ts';
import { OneOfSeveral } from '../testing/one-of-several.ts';
import { RunningService } from '../testing/running-service.ts';

/**
 * An embedded CA that two processes have in turn, over three members of etcd: paused and killed while a client that knows both goes on asking for SVIDs.
 * The tests are one story, in order.
 */

const { skip } = await findEtcd();
const selvedge = join(import.meta.dirname, '..', '..', 'bin', 'selvedge');
const context = systemContext(createLogger({ process: 'test', level: 'silent' }));

describe('identity processes with an embedded CA take over from one another', { skip }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'selvedge-failover-'));
  const closing = new AbortController();
  const folderOf = (name: string): string => join(directory, name);
  let cluster: EtcdCluster;
  let one: Child;
  let two: Child;
  let ports: readonly number[] = [];
  let pin = '';
  let trust: TrustStore;
  /** Of the client that goes on asking. */
  let endpoints: IdentityEndpoints;
  let issueBy: (endpoints: IdentityEndpoints) => Promise<Issued>;
  /** Asks for SVIDs all the time, of whichever process answers. */
  const load = { issued: 0, lastAtMs: 0, longestGapMs: 0, sequences: [] as number[], done: Promise.resolve() };

  const urlOf = (index: number): string => `https://127.0.0.1:${ports[index]}`;
  const start = (name: string, index: number): Child => {
    const etcd = cluster.addresses.flatMap((address) => ['--etcd', address]);
    const at = ['--listen', `127.0.0.1:${ports[index]}`, '--data-dir', folderOf(name), '--trust-domain', 'mesh.test'];
    return new Child(name, selvedge, ['serve', 'identity', ...at, ...etcd], directory);
  };
  const issuedBy = (name: string): number =>
    readFileSync(join(folderOf(name), 'audit.jsonl'), 'utf8').split('"event":"svid-issued"').length;

  before(async () => {
    // A service on SQLite, with a node, moves into etcd.
    const alone = await RunningService.start();
    const token = await alone.joinToken(['web']);
    const state = await openNodeState(undefined);
    const { signal } = closing; // of the load alone
    [pin, trust] = [alone.identity.pins[0] ?? '', alone.trust ?? assert.fail()];
    const client = (at: IdentityEndpoints) =>
      new IdentityClient({ endpoints: at, trust, state, context, signal: new AbortController().signal });
    const nodeId = await client(new IdentityEndpoints(alone.url)).join(token, 'web-host');
    issueBy = (at) => client(at).issue({ service: 'web', csr: makeCsr(makeKeyPair()) }, { nodeId });
    await alone.identity.close(0);
    await alone.store.close();
    [cluster, ports] = await Promise.all([startEtcd(), freePorts(2)]);
    const etcd = cluster.addresses.flatMap((address) => ['--etcd', address]);
    const moved = await runSelvedge(['identity', 'move', '--data-dir', alone.folder, ...etcd]);
    assert.equal(moved.code, 0, moved.stderr);
    symlinkSync(alone.folder, folderOf('one'));
    one = start('one', 0);
    await one.fact('ready');
    await mkdir(folderOf('two'), { mode: 0o700 });
    symlinkSync(join(alone.folder, 'ca'), join(folderOf('two'), 'ca'));
    two = start('two', 1);
    await two.fact('standby');

    endpoints = new IdentityEndpoints([urlOf(0), urlOf(1)]);
    load.done = (async () => {
      while (!signal.aborted) {
        try {
          await trust.accept((await issueBy(endpoints)).bundle);
          const nowMs = performance.now();
          if (load.lastAtMs > 0) load.longestGapMs = Math.max(load.longestGapMs, nowMs - load.lastAtMs);
          load.issued += 1;
          load.lastAtMs = nowMs;
          load.sequences.push(trust.sequence);
        } catch (error) {
          if (signal.aborted) return;
          if (!isMeshError(error, 'SLV-1006') && !isMeshError(error, 'SLV-2014')) throw error;
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      }
    })();
    load.done.catch(() => undefined); // awaited at the end
  });
  after(async () => {
    closing.abort(new Error('over'));
    await Promise.all([one?.end('SIGKILL'), two?.end('SIGKILL')]);
    await cluster?.[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  const moreFrom = async (index: number): Promise<void> => {
    const before = load.issued;
    await waitFor(
      `SVIDs from ${urlOf(index)}`,
      () => load.issued > before + 5 && endpoints.preferred === urlOf(index),
      60_000,
    );
  };

  test('moved from SQLite: the CA and the node are what they were', async () => {
    await moreFrom(0);
    assert.equal(await one.fact('ca-pin'), pin);
  });

  test('the command shows which of them is in charge and which stands by', async () => {
    const shown = async (): Promise<(string | undefined)[][]> => {
      const { code, stdout, stderr } = await runSelvedge([
        'identity',
        'status',
        '--identity',
        urlOf(0),
        '--ca-pin',
        pin,
      ]);
      assert.equal(code, 0, stderr);
      return stdout
        .split('\n')
        .map((line) => line.split(/ {2,}/))
        .filter(([process]) => process?.includes(' 127.0.0.1:'))
        .map(([process, role, , , asked]) => [process?.split(':')[1], role, asked]);
    };
    // Each process reads the roll once a second: the one that answers may not have seen the newest yet.
    const both = async () => {
      const list = await shown();
      return list.length === 2 && list;
    };
    assert.deepEqual(await waitFor('both in the list', both, 20_000), [
      [String(ports[0]), 'lead', 'yes'],
      [String(ports[1]), 'standby', '-'],
    ]);
  });

  test('the active one is paused past its lease: the other takes over; resumed, it signs nothing and stands by', async () => {
    suspend(one.pid ?? 0);
    const issuedBefore = issuedBy('one');
    await waitFor('the other to issue', () => issueBy(new IdentityEndpoints(urlOf(1))), 60_000);
    // These wait in its sockets, and are the first that it finds when it wakes.
    const waiting = Array.from({ length: 20 }, () =>
      issueBy(new IdentityEndpoints(urlOf(0))).then(
        () => 'issued',
        () => 'refused',
      ),
    );
    one.signal('SIGCONT');
    assert.deepEqual([...new Set(await Promise.all(waiting))], ['refused']);
    await one.fact('standby');
    // The one that the store had taken when it was paused is written down when it wakes; it was its own to issue.
    assert.ok(issuedBy('one') - issuedBefore <= 1, 'nothing more was signed');
    await moreFrom(1);
  });

  test('the active one is killed under load: the other takes over, and the bundle never went back', async (t) => {
    await two.end('SIGKILL');
    await moreFrom(0);
    closing.abort(new Error('over'));
    await load.done;
    assert.deepEqual(
      load.sequences,
      load.sequences.toSorted((a, b) => a - b),
    );
    t.diagnostic(`${load.issued} SVIDs, at the most ${Math.round(load.longestGapMs)} ms without one`);
    assert.ok(load.longestGapMs < 60_000, `${load.longestGapMs} ms without an SVID`);
  });

  test('by commands: a backup beside the running service, restored under another prefix, is the same mesh', async () => {
    const [file, passphrase, folder] = ['identity.backup', 'passphrase', 'restored'].map(folderOf);
    assert.ok(file !== undefined && passphrase !== undefined && folder !== undefined);
    await writeFile(passphrase, 'a passphrase for this test\n', { mode: 0o600 });
    const etcd = cluster.addresses.flatMap((address) => ['--etcd', address]);
    const sealed = ['--passphrase-file', passphrase, ...etcd];
    const made = await runSelvedge(['identity', 'backup', '--data-dir', folderOf('one'), '--out', file, ...sealed]);
    assert.equal(made.code, 0, made.stderr);
    assert.match(made.stdout, new RegExp(`${pin} +1 `), 'its root and its one node');
    const elsewhere = ['--data-dir', folder, '--etcd-prefix', 'restored', ...sealed];
    const restored = await runSelvedge(['identity', 'restore', '--from', file, ...elsewhere]);
    assert.equal(restored.code, 0, restored.stderr);
    const again = await runSelvedge(['identity', 'restore', '--from', file, ...elsewhere]);
    assert.deepEqual([again.code, /SLV-\d+/.exec(again.stderr)?.[0]], [1, 'SLV-2187'], 'never over one that is there');

    const { addresses } = cluster;
    const plain = credentials.createInsecure();
    await using store = await openEtcdStore({
      addresses,
      credentials: plain,
      prefix: 'restored/identity',
      log: context.log,
    });
    await using one = await OneOfSeveral.start(store, { folder });
    assert.deepEqual(one.identity.pins, [pin]);
    assert.equal((await one.operate('/v1/identity/nodes')).status, 200, 'operators as before');
    await trust.accept((await issueBy(new IdentityEndpoints(one.url))).bundle);
    assert.ok(trust.sequence > (load.sequences.at(-1) ?? 0), 'the bundle did not go back');
  });
});
