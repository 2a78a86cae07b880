import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { parseTrustDomain } from '#policies/spiffe-id.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { waitFor } from '#test/wait-for.ts';
import { issuingLifeMs, openEmbeddedCa, rootLifeMs } from '../backends/embedded.ts';
import { HeldSvids } from '../status/held-svids.ts';
import type { Sightings } from './next-step.ts';
import { RotationDriver } from './rotation-driver.ts';
import { defaultRotationTimes, type RotationTimes } from './rotation-times.ts';

const system = systemContext(createLogger({ process: 'test', level: 'silent' }));

/** A driver of a real CA in memory, with time and the world in the test's hands. */
async function stage(times: Partial<RotationTimes> = {}) {
  const world = {
    nowMs: 1_800_000_000_000,
    sightings: { kind: 'proxies', missing: [] } as Sightings,
    published: 0,
    publishFails: false,
    isTakeoverAsked: false,
    /** Why the next CA can't sign; undefined: it can. */
    unprepared: undefined as MeshError | undefined,
    /** What a step still does after its state is in force. */
    afterStep: Promise.resolve() as Promise<void>,
  };
  const context = { ...system, clock: () => world.nowMs };
  const ca = await openEmbeddedCa({ dataDir: undefined, trustDomain: parseTrustDomain('mesh.test') }, context);
  const held = new HeldSvids(context.clock);
  const states: string[] = [];
  const events: string[] = [];
  const driver = new RotationDriver({
    rotating: {
      get state() {
        return ca.rotating.state;
      },
      get validity() {
        return ca.rotating.validity;
      },
      keysAreHere: true,
      get isTakeoverAsked() {
        return world.isTakeoverAsked;
      },
      takeover: undefined,
      async prepare(target) {
        if (world.unprepared !== undefined) throw world.unprepared;
        await ca.rotating.prepare(target);
        world.isTakeoverAsked = false;
      },
      taint: () => ca.rotating.taint(),
      declareCompromised: () => ca.rotating.declareCompromised(),
      async take(step) {
        await ca.rotating.take(step);
        await world.afterStep;
      },
    },
    times: { ...defaultRotationTimes, ...times },
    async publish() {
      if (world.publishFails) throw new Error('the disk is full');
      world.published += 1;
    },
    bundleSequence: () => world.published,
    sightings: async () => world.sightings,
    held,
    isOwnFresh: () => true,
    audit: {
      append: async ({ event }) => void events.push(event),
      ready: async () => undefined,
      failure: undefined,
      close: async () => undefined,
    },
    context,
    // One turn of the event loop is one wait.
    pause: (_ms, signal) => new Promise((resolve) => (signal.aborted ? resolve() : setImmediate(resolve))),
    onState: ({ state }) => states.push(state),
  });
  const closing = new AbortController();
  const running = driver.run(closing.signal);
  return {
    world,
    ca,
    held,
    driver,
    states,
    events,
    until: (state: string) => waitFor(state, () => driver.state.state === state),
    async [Symbol.asyncDispose]() {
      closing.abort();
      await running;
      await ca.close();
    },
  };
}

describe('driving a rotation', () => {
  test('waits for the missing, names them when overdue, goes on when they come; waits for old SVIDs, then for connections', async () => {
    await using on = await stage();
    const old = on.ca.rotating.state.active.issuing;
    const life = { issuedAtMs: on.world.nowMs, notAfterMs: on.world.nowMs + 3_600_000 };
    on.held.issued({ node: 'n', holder: 'vm/web' }, { ...life, authority: old });
    on.world.sightings = { kind: 'proxies', missing: ['vm/web'] };
    await on.driver.rotate('root', { force: false, by: 'test' });
    await waitFor('the wait', () => on.driver.view().waitingFor?.missing[0] === 'vm/web');
    assert.equal(on.driver.view().waitingFor?.overdue, false);
    on.world.nowMs += defaultRotationTimes.deadlineMs;
    await waitFor('overdue', () => on.driver.view().waitingFor?.overdue);
    assert.equal(on.driver.state.state, 'published');
    on.world.sightings = { kind: 'unknown', reason: 'down' };
    await waitFor('the reason', () => /down/.test(on.driver.view().waitingFor?.reason ?? ''));
    on.world.sightings = { kind: 'proxies', missing: [] };
    await on.until('activated');
    await waitFor('the holdout', () => on.driver.view().waitingFor?.missing[0] === 'vm/web');
    assert.ok(on.driver.view().tainted.includes(old));
    const fresh = on.ca.rotating.state.active.issuing;
    on.held.issued({ node: 'n', holder: 'vm/web' }, { ...life, authority: fresh });
    await waitFor('time for connections', () => /time to end/.test(on.driver.view().waitingFor?.reason ?? ''));
    on.world.nowMs += defaultRotationTimes.settleMs;
    await on.until('idle');
    assert.deepEqual(on.states, ['prepared', 'published', 'seen', 'activated', 'idle']);
    await waitFor('the bundle to be out', () => on.driver.view().waitingFor === undefined);
  });

  test('a clock that went back by an hour does not prolong a wait by an hour', async () => {
    await using on = await stage();
    const { blindWaitMs, settleMs } = defaultRotationTimes;
    const life = { issuedAtMs: on.world.nowMs, notAfterMs: on.world.nowMs + 36_000_000 };
    const old = on.ca.rotating.state.active.issuing;
    on.held.issued({ node: 'n', holder: 'vm/web' }, { ...life, authority: old });
    on.world.sightings = { kind: 'by-time' };
    /** Until the driver has looked at the clock since. */
    const looked = async (): Promise<void> => {
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    };
    await on.driver.rotate('root', { force: false, by: 'test' });
    await on.until('published');
    on.world.nowMs -= 3_600_000;
    await looked();
    on.world.nowMs += blindWaitMs;
    await on.until('activated');
    on.held.issued({ node: 'n', holder: 'vm/web' }, { ...life, authority: on.ca.rotating.state.active.issuing });
    await looked();
    on.world.nowMs -= 3_600_000;
    await looked();
    on.world.nowMs += settleMs;
    await on.until('idle');
  });

  test('a takeover that the configuration asks for begins by itself; while it can not, it says why, and goes on when it can', async () => {
    await using on = await stage();
    on.world.unprepared = new MeshError('SLV-2141', 'Vault refused to sign.');
    on.world.isTakeoverAsked = true;
    await waitFor('the reason', () => /could not go on: Vault refused/.test(on.driver.view().waitingFor?.reason ?? ''));
    assert.equal(on.driver.state.state, 'idle');
    on.world.unprepared = undefined;
    await waitFor('its end', () => on.states.includes('idle') && on.driver.view().waitingFor === undefined);
    assert.deepEqual(on.states, ['prepared', 'published', 'seen', 'activated', 'idle']);
    assert.deepEqual(on.events, ['rotation-begun']);
  });

  test('force goes past one wait, not past the next', async () => {
    await using on = await stage();
    const old = on.ca.rotating.state.active.issuing;
    const life = { issuedAtMs: on.world.nowMs, notAfterMs: on.world.nowMs + 3_600_000 };
    on.held.issued({ node: 'n', holder: 'vm/web' }, { ...life, authority: old });
    on.world.sightings = { kind: 'proxies', missing: ['vm/web'] };
    const nothing = on.driver.rotate('root', { force: true, by: 'test' });
    await assert.rejects(nothing, (error) => isMeshError(error, 'SLV-2183'));
    await on.driver.rotate('root', { force: false, by: 'test' });
    await on.until('published');
    await assert.rejects(on.driver.rotate('root', { force: false, by: 'test' }), (error) =>
      isMeshError(error, 'SLV-2180'),
    );
    await assert.rejects(on.driver.rotate('issuing', { force: true, by: 'test' }), (error) =>
      isMeshError(error, 'SLV-2180'),
    );
    await assert.rejects(on.driver.taint('test'), (error) => isMeshError(error, 'SLV-2180'));
    await on.driver.rotate('root', { force: true, by: 'test' });
    await on.until('activated');
    await waitFor('the holdout', () => on.driver.view().waitingFor?.missing.length === 1);
    await on.driver.rotate('root', { force: true, by: 'test' });
    await on.until('idle');
    // Whoever forces in a loop, until it is idle, must not begin the next one with the last turn.
    const ended = on.driver.rotate('root', { force: true, by: 'test' });
    await assert.rejects(ended, (error) => isMeshError(error, 'SLV-2183'));
    assert.equal(on.driver.state.state, 'idle');
    assert.deepEqual(on.events, ['rotation-begun', 'rotation-forced', 'rotation-forced']);
  });

  test('taint out of the blue replaces the issuing CA and taints the old one', async () => {
    await using on = await stage();
    const { root, issuing } = on.ca.rotating.state.active;
    on.held.issued(
      { node: 'n', holder: 'vm/web' },
      { issuedAtMs: on.world.nowMs, notAfterMs: on.world.nowMs + 3_600_000, authority: issuing },
    );
    await on.driver.taint('test');
    const view = on.driver.view();
    assert.deepEqual([view.state, view.active.root, view.tainted], ['activated', root, [issuing]]);
    assert.notEqual(view.active.issuing, issuing);
  });

  test('the issuing CA is rotated at half of its life, without taint; the root is warned of, or rotated where that is configured', async () => {
    await using on = await stage();
    const { issuing, root } = on.ca.rotating.state.active;
    on.world.nowMs += issuingLifeMs / 2 - 60_000;
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(on.ca.rotating.state.active.issuing, issuing);
    on.world.nowMs += 120_000;
    await waitFor(
      'the new issuing CA',
      () => on.states.includes('idle') && on.ca.rotating.state.active.issuing !== issuing,
    );
    assert.deepEqual(on.states.slice(0, 3), ['prepared', 'activated', 'idle']);
    assert.equal(on.ca.rotating.state.active.root, root);
    on.world.nowMs += rootLifeMs * 0.75;
    assert.match(on.driver.view().warnings[0] ?? '', /not rotated by itself/);

    await using automatic = await stage({ rootAtFraction: 0.6 });
    const before = automatic.ca.rotating.state.active.root;
    automatic.world.nowMs += rootLifeMs * 0.61;
    await waitFor('the new root', () => automatic.ca.rotating.state.active.root !== before);
    assert.deepEqual(automatic.driver.view().warnings, []);
  });

  test('a bundle that could not be published is published before anything else happens', async () => {
    await using on = await stage();
    await waitFor('the first one', () => on.world.published > 0);
    on.world.publishFails = true;
    await on.driver.rotate('root', { force: false, by: 'test' });
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(on.driver.state.state, 'prepared');
    on.world.publishFails = false;
    await on.until('idle');
  });

  test('is not shown as done while the step that ends it still works: its bundle is not out', async () => {
    await using on = await stage();
    await waitFor('the first bundle', () => on.driver.view().waitingFor === undefined);
    const gate = Promise.withResolvers<void>();
    const notAfterMs = on.world.nowMs + 3_600_000;
    const authority = on.ca.rotating.state.active.issuing;
    on.held.issued({ node: 'n', holder: 'vm/web' }, { issuedAtMs: on.world.nowMs, notAfterMs, authority });
    await on.driver.rotate('root', { force: false, by: 'test' });
    await on.until('activated');
    on.world.afterStep = gate.promise;
    on.world.nowMs = notAfterMs + defaultRotationTimes.settleMs;
    await on.until('idle');
    const [{ published }, seen] = [on.world, on.driver.view().waitingFor];
    gate.resolve();
    assert.match(seen?.reason ?? '', /not published yet/);
    await waitFor('the bundle to be out', () => on.driver.view().waitingFor === undefined);
    assert.equal(on.world.published, published + 1);
  });
});
