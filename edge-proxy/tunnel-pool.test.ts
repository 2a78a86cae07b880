import assert from 'node:assert/strict';
import { test } from 'node:test';
import { record, settle, WireEnd } from './tunnel/memory-wire.ts';
import type { TunnelStream } from './tunnel/tunnel-stream.ts';
import { TunnelPool } from './tunnel-pool.ts';

/** Tunnels over wires in memory, whose certificates are good for a second each. */
test('a tunnel takes no new streams in the second half of its certificate’s life, and ends with it; what runs goes on until then', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const clock = { nowMs: 0 };
  let dialled: (() => void) | undefined;
  const wires: (readonly [near: WireEnd, far: WireEnd])[] = [];
  let retired = 0;
  const pool = new TunnelPool({
    clock: () => clock.nowMs,
    onRetire() {
      retired += 1;
    },
    dial(events) {
      const wire = [new WireEnd('client', clock), new WireEnd('server', clock)] as const;
      wires.push(wire);
      settle(...wire);
      dialled = () => events.onTunnel(wire[0].connection, clock.nowMs + 1_000);
      return () => {};
    },
  });
  const carry = () => {
    for (const wire of wires) settle(...wire);
  };
  const pass = (ms: number) => {
    clock.nowMs += ms;
    t.mock.timers.tick(ms);
    carry();
  };
  const open = () => {
    let stream: TunnelStream | undefined;
    pool.lease(
      (tunnel) => {
        stream = tunnel.open('db.dc1.mesh.test:80', [], () => {});
      },
      ({ reason }) => assert.fail(reason),
    );
    dialled?.();
    dialled = undefined;
    assert.ok(stream !== undefined);
    carry();
    return { stream, told: record(stream) };
  };

  const first = open();
  pass(499);
  open();
  assert.equal(wires.length, 1);
  pass(1);
  assert.equal(retired, 1);
  const late = open();
  assert.equal(wires.length, 2, 'on a tunnel of its own');
  const far = wires[0]?.[1];
  far?.offered[0]?.stream.accept();
  far?.offered[0]?.stream.write('still here');
  carry();
  assert.equal(Buffer.concat(first.told.chunks).toString(), 'still here');
  pass(499);
  assert.equal(first.told.resets.length, 0);
  pass(1);
  assert.equal(first.told.resets.length, 1);
  assert.equal(late.told.resets.length, 0);
  assert.equal(wires[0]?.[0].connection.state, 'closed');
  pool.close();
});
