import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { dialTls, serverTlsOptions } from '#runtime/tls-identity.ts';
import { makeCa } from '#test/mini-ca.ts';
import { waitFor } from '#test/wait-for.ts';
import { type ByteStream, idleHandlers, socketStream } from './byte-stream.ts';
import { readDirectly, readFrom } from './direct-reads.ts';

/** A socket that a server accepted, and the other end of it. */
async function connected(t: TestContext): Promise<{ accepted: Socket; peer: Socket }> {
  const server = createServer({ allowHalfOpen: true });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const peer = connect({ port: (server.address() as AddressInfo).port, host: '127.0.0.1', allowHalfOpen: true });
  const [accepted] = (await once(server, 'connection')) as [Socket];
  t.after(() => {
    accepted.destroy();
    peer.destroy();
    server.close();
  });
  return { accepted, peer };
}

/** Gathers what comes. */
function listen(stream: ByteStream) {
  const seen = { text: '', ended: 0, closed: false };
  stream.handlers = {
    onData: (chunk) => {
      seen.text += chunk.toString('latin1');
    },
    onEnd: () => {
      seen.ended += 1;
    },
    onDrain() {},
    onClose: () => {
      seen.closed = true;
    },
  };
  return seen;
}

describe('direct reads', () => {
  it('are to be had of this Node, on accepted and on connected sockets: else the proxy is slower than it was measured', async (t) => {
    const { accepted, peer } = await connected(t);
    assert.equal(
      readDirectly(accepted, () => {}),
      true,
    );
    assert.equal(
      readDirectly(peer, () => {}),
      true,
    );
  });

  it('bring every byte in order, in chunks that stay as they are, through one buffer for all', async (t) => {
    const [one, two] = [await connected(t), await connected(t)];
    const chunks: Buffer[] = [];
    const first = socketStream(one.accepted);
    first.handlers = { onData: (chunk) => chunks.push(chunk), onEnd() {}, onDrain() {}, onClose() {} };
    const second = listen(socketStream(two.accepted));
    const sent = Array.from({ length: 200 }, (_, index) => `${index}:${'x'.repeat(index * 37)};`);
    for (const piece of sent) {
      one.peer.write(piece);
      two.peer.write('y'.repeat(1_000));
    }
    await waitFor(
      'all bytes',
      () => second.text.length === 200_000 && Buffer.concat(chunks).length === sent.join('').length,
    );
    assert.equal(Buffer.concat(chunks).toString(), sent.join(''));
    assert.equal(second.text, 'y'.repeat(200_000));
  });

  it('offer much at once to who takes it during the call, and all others a copy', async (t) => {
    const { accepted, peer } = await connected(t);
    const stream = socketStream(accepted);
    const sent = Array.from({ length: 400_000 }, (_, index) => `${index};`).join('');
    const copies: Buffer[] = [];
    let length = 0;
    const passed = { bytes: 0, least: sent.length };
    const keep = (chunk: Buffer): void => {
      copies.push(chunk);
      length += chunk.length;
    };
    stream.handlers = {
      onData: keep,
      onPassing: (bytes) => {
        passed.bytes += bytes.length;
        passed.least = Math.min(passed.least, bytes.length);
        keep(Buffer.from(bytes));
        if (length < sent.length / 2) return;
        delete stream.handlers.onPassing;
        stream.pause();
        setImmediate(() => stream.resume());
      },
      onEnd() {},
      onDrain() {},
      onClose() {},
    };
    peer.write(sent);
    await waitFor('all bytes', () => length === sent.length);
    assert.ok(Buffer.concat(copies).toString() === sent);
    assert.ok(passed.bytes >= sent.length / 2, `${passed.bytes} passed`);
    assert.ok(passed.least >= 8_192);
  });

  it('of a TLS socket follow what it had read before, which comes as data', async (t) => {
    const svid = makeCa('mesh.test').issue({ spiffeId: 'spiffe://mesh.test/ns/default/dc/dc1/svc/db' });
    const early = 'read before, ';
    const server = createTlsServer(serverTlsOptions(svid), (socket) => socket.write(early));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const taken = once(server, 'secureConnection') as Promise<[Socket]>;
    const peer = await dialTls({ host: '127.0.0.1', port, svid, judge() {} });
    t.after(() => {
      peer.destroy();
      server.close();
    });
    peer.once('readable', () => undefined); // has it read, and keep what it reads
    await waitFor('the first bytes', () => peer.readableLength === early.length);
    const seen = { text: '', ended: false, asData: 0 };
    peer.on('end', () => {
      seen.ended = true;
    });
    readFrom(peer, (chunk) => {
      seen.text += chunk.toString('latin1');
    });
    peer.on('data', (chunk: Buffer) => {
      seen.asData += chunk.length;
    });
    const later = Array.from({ length: 20_000 }, (_, index) => `${index};`).join('');
    const [accepted] = await taken;
    accepted.end(later);
    await waitFor('the end', () => seen.ended);
    assert.equal(seen.text, early + later);
    assert.equal(seen.asData, early.length);
  });

  it('are held while paused, up to a bound, and told in order with the end behind them, once', async (t) => {
    const { accepted, peer } = await connected(t);
    const stream = socketStream(accepted);
    const seen = listen(stream);
    stream.pause();
    peer.end('a'.repeat(3_000_000));
    await waitFor('as much as is held to be read', () => accepted.bytesRead >= 65_536);
    assert.equal(seen.text, '');
    assert.ok(accepted.bytesRead < 1_000_000, 'a paused stream is read to a bound only');
    stream.resume();
    await waitFor('the end', () => seen.ended > 0);
    assert.equal(seen.text.length, 3_000_000);
    stream.pause();
    stream.resume();
    assert.equal(seen.ended, 1);
  });

  it('show a peer that is gone while paused', async (t) => {
    const { accepted, peer } = await connected(t);
    const stream = socketStream(accepted);
    const seen = listen(stream);
    stream.pause();
    peer.write('a few bytes');
    await waitFor('them to be here', () => accepted.bytesRead > 0);
    peer.resetAndDestroy();
    await waitFor('the stream to close', () => seen.closed);
    stream.resume();
    assert.equal(seen.text, '', 'nothing is told behind the close');
  });

  it('may be paused and resumed within a chunk', async (t) => {
    const { accepted, peer } = await connected(t);
    const stream = socketStream(accepted);
    let text = '';
    let inside = 0;
    stream.handlers = {
      onData(chunk) {
        inside += 1;
        assert.equal(inside, 1, 'one chunk at a time');
        text += chunk.toString('latin1');
        stream.pause();
        stream.resume();
        inside -= 1;
      },
      onEnd() {},
      onDrain() {},
      onClose() {},
    };
    stream.pause();
    for (let index = 0; index < 50; index++) peer.write(`${index},`);
    await waitFor('some of it', () => accepted.bytesRead > 0);
    stream.resume();
    await waitFor('all of it', () => text.endsWith('49,'));
  });
});

describe('bulk that is written to a socket', () => {
  it('leaves together at the end of the turn, and in order', async (t) => {
    const { accepted, peer } = await connected(t);
    const stream = socketStream(accepted);
    const there = listen(socketStream(peer));
    const pieces = ['head', 'a'.repeat(5_000), 'b'.repeat(9), 'c'.repeat(5_000)];
    for (const piece of pieces) assert.equal(stream.write(Buffer.from(piece)), true);
    assert.equal(accepted.writableLength, 10_009, 'all but the head, which was there before it was bulk');
    await waitFor('all of it', () => there.text.length === 10_013);
    assert.equal(there.text, pieces.join(''));
  });

  it('does not wait when it is as much as the socket holds, nor when the socket is closed', async (t) => {
    const { accepted, peer } = await connected(t);
    const stream = socketStream(accepted);
    const there = listen(socketStream(peer));
    for (let written = 0; written < 60_000; written += 5_000) assert.equal(stream.write(Buffer.alloc(5_000)), true);
    assert.equal(accepted.writableCorked, 1);
    stream.write(Buffer.alloc(8_000));
    assert.equal(accepted.writableCorked, 0);
    await waitFor('all of it', () => there.text.length === 68_000);
    stream.write(Buffer.alloc(5_000));
    stream.destroy();
    await waitFor('the end', () => there.ended === 1);
    assert.equal(there.text.length, 73_000);
  });
});

describe('small pieces that are written to a socket', () => {
  it('leave with the others of their turn; the first, and one in each of the next turns, at once', async (t) => {
    const { accepted, peer } = await connected(t);
    const stream = socketStream(accepted);
    const there = listen(socketStream(peer));
    stream.write(Buffer.from('a'));
    assert.equal(accepted.writableLength, 0);
    for (const piece of 'bcde') stream.write(Buffer.from(piece));
    assert.equal(accepted.writableLength, 4);
    await waitFor('all of it', () => there.text === 'abcde');
    for (const piece of 'fg') {
      stream.write(Buffer.from(piece));
      assert.equal(accepted.writableLength, 0);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await waitFor('the rest', () => there.text === 'abcdefg');
  });
});

describe('a socket that is closed', () => {
  it('keeps nothing of who had it until a full collection of garbage', async (t) => {
    setFlagsFromString('--expose-gc');
    const collect: typeof globalThis.gc = runInNewContext('gc');
    /** What has outlived two collections of what is young. */
    const oldBytes = (): number => {
      for (let times = 0; times < 2; times++) collect?.({ type: 'minor' });
      return getHeapSpaceStatistics().find(({ space_name }) => space_name === 'old_space')?.space_used_size ?? 0;
    };
    const [connections, held] = [20, 10_000];
    const before = oldBytes();
    for (let count = 0; count < connections; count++) {
      const { accepted, peer } = await connected(t);
      const state = Array.from({ length: held }, () => ({}));
      let closed = 0;
      socketStream(accepted).handlers = {
        ...idleHandlers,
        onClose: () => {
          closed = state.length;
        },
      };
      peer.destroy();
      accepted.end();
      await waitFor('its end', () => closed === held);
    }
    const bytes = oldBytes() - before;
    // Each of the objects is 64 bytes, with its place in the list.
    assert.ok(bytes < (connections * held * 64) / 4, `${bytes} bytes`);
  });
});

describe('the end of a plain socket', () => {
  it('is its close at once where the other side has ended, or is not waited for; what was written arrives', async (t) => {
    for (const how of ['end', 'close'] as const) {
      const { accepted, peer } = await connected(t);
      const stream = socketStream(accepted);
      const seen = listen(stream);
      const there = listen(socketStream(peer));
      if (how === 'end') {
        peer.end();
        await waitFor('its end', () => seen.ended === 1);
      }
      stream.write('the last words');
      if (how === 'end') stream.end();
      else stream.close?.();
      assert.equal(accepted.destroyed, true);
      await waitFor('both ends', () => seen.closed && there.ended === 1);
      assert.equal(there.text, 'the last words');
    }
  });

  it('waits for what the kernel has not taken yet', async (t) => {
    const { accepted, peer } = await connected(t);
    const stream = socketStream(accepted);
    const reader = socketStream(peer);
    const there = listen(reader);
    reader.pause();
    assert.equal(stream.write('z'.repeat(8_000_000)), false);
    stream.close?.();
    assert.equal(accepted.destroyed, false);
    reader.resume();
    await waitFor('the end', () => there.ended === 1);
    assert.equal(there.text.length, 8_000_000);
  });
});
