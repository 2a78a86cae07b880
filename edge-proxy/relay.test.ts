import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { describe, type TestContext, test } from 'node:test';
import { listening } from '#test/sidecars.ts';
import { waitFor } from '#test/wait-for.ts';
import { type ByteStream, type ByteStreamHandlers, idleHandlers, socketStream } from './byte-stream.ts';
import { DecisionLog } from './decisions.ts';
import { IdleSweep } from './idle-sweep.ts';
import { MessageWriter } from './message-writer.ts';
import { relay } from './relay.ts';

/** A stream that writes down what is done to it. */
class Noted implements ByteStream {
  handlers: ByteStreamHandlers = idleHandlers;
  flushed = true;
  takes = true;
  readonly did: string[] = [];
  #closed = false;

  write(data: Buffer | string): boolean {
    this.did.push(`write ${data.toString('latin1')}`);
    return this.takes;
  }
  end(): void {
    this.did.push('end');
  }
  destroy(): void {
    this.did.push('destroy');
  }
  reset(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.did.push('reset');
    queueMicrotask(() => this.handlers.onClose(undefined));
  }
  pause(): void {
    this.did.push('pause');
  }
  resume(): void {
    this.did.push('resume');
  }
}

function joined(a = new Noted(), b = new Noted()) {
  const nowMs = { now: 0 };
  const sweep = new IdleSweep(() => nowMs.now);
  const counters = { forward: { value: 0 }, backward: { value: 0 } };
  const done: (string | undefined)[] = [];
  const cut = relay(a, b, { sweep, idleTimeoutMs: 1_000, ...counters, onDone: (fault) => done.push(fault) });
  a.did.length = 0;
  b.did.length = 0;
  return { a, b, cut, done, sweep, counters, nowMs };
}

describe('a relay', () => {
  test('passes bytes and ends on, counts, and is done when both are closed', () => {
    const { a, b, done, sweep, counters } = joined();
    a.handlers.onData(Buffer.from('to b'));
    b.handlers.onData(Buffer.from('to a!'));
    a.handlers.onEnd();
    assert.deepEqual([a.did, b.did], [['write to a!'], ['write to b', 'end']]);
    assert.deepEqual([counters.forward.value, counters.backward.value], [4, 5]);
    b.handlers.onEnd();
    a.handlers.onClose(undefined);
    assert.deepEqual(done, []);
    assert.deepEqual(b.did.slice(2), [], 'b may still be flushing');
    b.handlers.onClose(undefined);
    assert.deepEqual(done, [undefined]);
    assert.equal(sweep.size, 0);
    sweep.close();
  });

  test('bytes that are there during the call only go to a side that takes them so', () => {
    class Taking extends Noted {
      writePassing(bytes: Buffer): boolean {
        this.did.push(`passing ${bytes}`);
        return this.takes;
      }
    }
    const { a, b, sweep, counters } = joined(new Noted(), new Taking());
    assert.equal(b.handlers.onPassing, undefined);
    a.handlers.onPassing?.(Buffer.from('to b'));
    b.takes = false;
    a.handlers.onPassing?.(Buffer.from('more'));
    assert.deepEqual([a.did, b.did], [['pause'], ['passing to b', 'passing more']]);
    assert.equal(counters.forward.value, 8);
    sweep.close();
  });

  test('a slow side stops the other until it has drained', () => {
    const { a, b, sweep } = joined();
    b.takes = false;
    a.handlers.onData(Buffer.from('x'));
    assert.deepEqual(a.did, ['pause']);
    b.handlers.onDrain();
    assert.deepEqual(a.did, ['pause', 'resume']);
    sweep.close();
  });

  test('a broken side breaks the other, and the first reason counts', async () => {
    const { a, b, done, sweep } = joined();
    a.handlers.onClose('ECONNRESET');
    assert.deepEqual(b.did, ['reset']);
    await new Promise(setImmediate);
    assert.deepEqual(done, ['ECONNRESET']);
    sweep.close();
  });

  test('one that is cut, or idle, breaks both', async () => {
    const one = joined();
    one.cut('denied');
    await new Promise(setImmediate);
    assert.deepEqual([one.a.did, one.b.did, one.done], [['reset'], ['reset'], ['denied']]);
    const two = joined();
    two.nowMs.now = 900;
    two.a.handlers.onData(Buffer.from('x'));
    two.sweep.sweep();
    two.nowMs.now = 1_800;
    two.sweep.sweep();
    assert.deepEqual(two.done, []);
    two.nowMs.now = 1_900;
    two.sweep.sweep();
    await new Promise(setImmediate);
    assert.deepEqual(two.done, ['idle timeout']);
    assert.equal(two.sweep.size, 0);
    for (const { sweep } of [one, two]) sweep.close();
  });
});

test('a clock set back does not lengthen the wait by more than itself', () => {
  let nowMs = 100_000;
  const sweep = new IdleSweep(() => nowMs);
  let idle = 0;
  sweep.guard(1_000, () => idle++);
  nowMs = 10_000;
  sweep.sweep();
  nowMs = 11_000;
  sweep.sweep();
  assert.equal(idle, 1);
  sweep.close();
});

test('a writer joins a head with a small body, never waits with one for long, and says when to stop', () => {
  const stream = new Noted();
  const writer = new MessageWriter(stream);
  writer.head('head ', { kind: 'length', bytes: 4 });
  assert.equal(writer.body(Buffer.from('bo')), true);
  stream.takes = false;
  assert.equal(writer.body(Buffer.from('dy')), false);
  writer.finish();
  writer.head('chunked ', { kind: 'chunked' });
  writer.body(Buffer.from('abc'));
  writer.finish();
  writer.head('alone ', { kind: 'none' });
  writer.flush();
  writer.flush();
  writer.head('large ', { kind: 'length', bytes: 20_000 });
  writer.body(Buffer.alloc(20_000, 'x'));
  assert.deepEqual(
    stream.did.map((what) => what.slice(0, 25)),
    [
      'write head bo',
      'write dy',
      'write chunked 3\r\nabc\r\n',
      'write 0\r\n\r\n',
      'write alone ',
      'write large ',
      `write ${'x'.repeat(19)}`,
    ],
  );
});

test('decisions are bounded, in number and each in length, and the oldest go first', () => {
  const log = new DecisionLog(
    () => 0,
    (size) => new Uint8Array(size),
    3,
  );
  const long = 'x'.repeat(100_000);
  const decision = {
    direction: 'inbound',
    source: 's',
    destination: 'd',
    code: 'SLV-4001',
    rule: long,
    reason: long,
    path: long,
    method: long,
  } as const;
  const ids = [1, 2, 3, 4].map(() => log.record(decision).id);
  assert.equal(log.find(ids[0] ?? ''), undefined);
  assert.deepEqual(
    log.latest(2).map(({ id }) => id),
    [ids[3], ids[2]],
  );
  assert.ok(JSON.stringify(log.find(ids[3] ?? '')).length < 3_000);
});

describe('a socket whose both sides have ended while its reader is paused', () => {
  /** Its reader is paused; the other side has said `words` and ended, ours too. @param onDestroyed when that is known, before the close is told of */
  async function ended(
    t: TestContext,
    onDestroyed: (stream: ByteStream) => void = () => {},
  ): Promise<{ stream: ByteStream; told: string[] }> {
    const server = createServer({ allowHalfOpen: true }, (socket) => socket.end('words'));
    t.after(() => server.close());
    const socket = connect({ port: await listening(server), host: '127.0.0.1', allowHalfOpen: true });
    const stream = socketStream(socket);
    const told: string[] = [];
    stream.handlers = {
      onData: (chunk) => told.push(chunk.toString()),
      onEnd: () => told.push('end'),
      onDrain() {},
      onClose: (fault) => told.push(`close ${fault}`),
    };
    stream.pause();
    const closed = once(socket, 'close');
    socket.once('end', () =>
      process.nextTick(() => {
        assert.equal(socket.destroyed, true);
        onDestroyed(stream);
        assert.deepEqual(told, []);
      }),
    );
    await once(socket, 'connect');
    stream.end();
    await closed;
    return { stream, told };
  }

  test('the rest is told first, then the end, then the close', async (t) => {
    const { stream, told } = await ended(t);
    assert.deepEqual(told, []);
    stream.resume();
    assert.deepEqual(told, ['words', 'end', 'close undefined']);
  });

  test('so it is when the reader goes on between the end of the socket and its close', async (t) => {
    const { told } = await ended(t, (stream) => stream.resume());
    assert.deepEqual(told, ['words', 'end', 'close undefined']);
  });

  test('who does not want the rest hears of the close alone', async (t) => {
    const { stream, told } = await ended(t);
    stream.destroy();
    await waitFor('the close', () => told.length > 0);
    stream.resume();
    assert.deepEqual(told, ['close undefined']);
  });
});
