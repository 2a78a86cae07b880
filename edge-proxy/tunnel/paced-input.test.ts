import assert from 'node:assert/strict';
import { beforeEach, suite, test } from 'node:test';
import { FairTurns } from './fair-turns.ts';
import { connectionPreface } from './http2.ts';
import { encodeFields, rawFrame, WireEnd } from './memory-wire.ts';
import { PacedInput } from './paced-input.ts';

suite('what a connection receives', () => {
  /** Each frame is one octet, and costs a tenth of a millisecond: a slice of 0.25 ms is over with the first four. */
  let frameMs: number;
  let nowMs: number;
  let read: string;
  let held: boolean[];
  let scheduled: Array<() => void>;
  let idle: Array<() => void>;
  let input: PacedInput;

  beforeEach(() => {
    frameMs = 0.1;
    nowMs = 0;
    read = '';
    held = [];
    scheduled = [];
    idle = [];
    input = new PacedInput({
      source: 'peer',
      turns: new FairTurns((next) => scheduled.push(next)),
      idleTurns: new FairTurns((next) => idle.push(next)),
      now: () => nowMs,
      read(chunk, offset, frames) {
        const end = Math.min(chunk.length, offset + frames);
        nowMs += (end - offset) * frameMs;
        read += chunk.toString('latin1', offset, end);
        return end;
      },
      wasted: () => read.split(/[.,]/).length - 1,
      bodies: () => ({ within: read.endsWith(','), ended: read.split(';').length - 1 }),
      readDone() {},
      hold: (wanted) => held.push(wanted),
    });
  });

  const turn = (): void => {
    for (const next of scheduled.splice(0)) next();
  };
  const idleTurn = (): void => {
    turn();
    for (const next of idle.splice(0)) next();
  };
  const receive = (text: string): void => input.receive(Buffer.from(text));

  test('is read at once when it is little', () => {
    receive('ab');
    turn();
    receive('cd');
    assert.equal(read, 'abcd');
    assert.deepEqual(held, []);
  });

  test('is read a slice a turn when it is much, and nobody brings more meanwhile', () => {
    receive('abcdefghij');
    assert.equal(read, 'abcd');
    assert.deepEqual(held, [true]);
    turn();
    assert.equal(read, 'abcdefgh');
    turn();
    assert.equal(read, 'abcdefghij');
    assert.deepEqual(held, [true, false]);
  });

  test('is one slice, however small the pieces in which it comes in one turn', () => {
    for (const piece of 'abcdefghij') receive(piece);
    assert.equal(read, 'abc');
    turn();
    assert.equal(read, 'abcdef');
    for (let turns = 0; turns < 3; turns++) turn();
    assert.equal(read, 'abcdefghij');
    assert.deepEqual(held, [true, false]);
  });

  test('stays in order with what comes nevertheless', () => {
    receive('abcdef');
    receive('ghi');
    for (let turns = 0; turns < 3; turns++) turn();
    assert.equal(read, 'abcdefghi');
  });

  test('waits for idle turns where slice after slice is wasted, until that is over', () => {
    const wasted = '.'.repeat(4);
    receive(wasted.repeat(18) + 'a'.repeat(16));
    for (let turns = 0; turns < 20; turns++) turn();
    assert.equal(read, wasted.repeat(16));
    // Here a slice ends with the frame that uses it up.
    for (let turns = 0; turns < 3; turns++) idleTurn();
    turn();
    assert.equal(read, `${wasted.repeat(18)}a`);
    for (let turns = 0; turns < 4; turns++) idleTurn();
    turn();
    assert.equal(read, wasted.repeat(18) + 'a'.repeat(16), 'what was wasted is made up for');
  });

  test('ends in an idle turn with a body, for which it goes on a little', () => {
    receive(`${'.'.repeat(16 * 4)}${','.repeat(15)};,,,;${'.'.repeat(12)}`);
    for (let turns = 0; turns < 20; turns++) turn();
    frameMs = 0.035;
    const sizes: number[] = [];
    for (let turns = 0; turns < 5; turns++) {
      idleTurn();
      sizes.push(read.length - 64);
    }
    assert.deepEqual(sizes, [12, 16, 20, 28, 32]);
  });

  test('does not wait for them where more than half helps', () => {
    const mixed = 'aaa.'.repeat(40);
    receive(mixed);
    for (let turns = 0; turns < 40; turns++) turn();
    assert.equal(read, mixed);
  });

  test('is read to its end before the end is told', () => {
    let ended = 0;
    const finish = (): void => input.finish(() => (ended += 1));
    receive('abcdef');
    finish();
    assert.equal(ended, 0);
    turn();
    assert.equal(read, 'abcdef');
    assert.equal(ended, 1);
    finish();
    assert.equal(ended, 2);
  });

  test('is read by nobody once it is discarded', () => {
    receive('abcdef');
    input.discard();
    turn();
    assert.equal(read, 'abcd');
    assert.deepEqual(held, [true]);
  });
});

suite('what helps nobody', () => {
  const head = encodeFields([
    [':method', 'CONNECT'],
    [':authority', 'db:80'],
  ]);
  const open = (at: number): Buffer => rawFrame(1, 4, 2 * at + 1, head);
  const cancel = (at: number): Buffer => rawFrame(3, 0, 2 * at + 1, '00000008');
  const content = (...pieces: string[]) => pieces.map((piece) => (at: number) => rawFrame(0, 0, 2 * at + 1, piece));
  const floods: Array<[title: string, answered: boolean, waits: boolean, ...frames: ((at: number) => Buffer)[]]> = [
    ['a request that is taken back', false, true, open, cancel],
    ['with content between', false, true, open, (at) => rawFrame(0, 0, 2 * at + 1, '61'), cancel],
    ['a PING', false, true, () => rawFrame(6, 0, 0, '0000000000000000')],
    ['a window of an octet', false, true, () => rawFrame(8, 0, 0, '00000001')],
    ['a window of a kilobyte', false, false, () => rawFrame(8, 0, 0, '00000400')],
    [
      'a request that is answered, and taken back then',
      true,
      false,
      open,
      (at) => rawFrame(0, 0, 2 * at + 1, '6162636465'),
      cancel,
    ],
    ['content in crumbs', false, true, open, ...content('61', '6162', '61626364')],
    ['content in crumbs that each end their stream', false, false, open, (at) => rawFrame(0, 1, 2 * at + 1, '61')],
    ['content of gRPC in the smallest messages', false, false, open, ...content('0000000000', '0000000000')],
  ];
  for (const [title, answered, waits, ...frames] of floods) {
    test(`${title}: ${waits ? 'waits for idle turns' : 'does not'}`, () => {
      let nowMs = 0;
      const due: Array<() => void> = [];
      const idle: Array<() => void> = [];
      const clock = {
        get nowMs() {
          nowMs += 0.1;
          return nowMs;
        },
      };
      const server = new WireEnd('server', clock, {
        lines: { turns: new FairTurns((next) => due.push(next)), idleTurns: new FairTurns((next) => idle.push(next)) },
        onStream: (stream) => {
          if (answered) stream.refuse(403);
        },
      });
      const flood = Array.from({ length: 400 }, (_, at) => frames.map((frame) => frame(at))).flat();
      server.connection.receive(Buffer.concat([connectionPreface, rawFrame(4, 0, 0), ...flood]));
      while (due.length > 0) due.shift()?.();
      assert.equal(server.held, waits, 'all of it is read but what waits');
      assert.equal(idle.length, waits ? 1 : 0);
    });
  }

  const ping = (): Buffer => rawFrame(6, 0, 0, '0000000000000000');
  const last = (at: number): Buffer => rawFrame(0, 1, 2 * at + 1);
  const requests: Array<[title: string, one: boolean, ...frames: ((at: number) => Buffer)[]]> = [
    ['content in crumbs', true, open, ...content('61', '61', '61'), last],
    ['content, among PINGs', false, ping, ping, ping, ping, open, ...content('6162636465'), last],
  ];
  for (const [title, one, ...frames] of requests) {
    test(`requests with ${title}: ${one ? 'one is' : 'some are'} read in an idle turn`, () => {
      const due: Array<() => void> = [];
      const idle: Array<() => void> = [];
      let nowMs = 0;
      const clock = {
        get nowMs() {
          nowMs += 0.01;
          return nowMs;
        },
      };
      let whole = 0;
      const server = new WireEnd('server', clock, {
        lines: { turns: new FairTurns((next) => due.push(next)), idleTurns: new FairTurns((next) => idle.push(next)) },
        onStream: (stream) => {
          stream.accept();
          stream.handlers = { onData() {}, onEnd: () => (whole += 1), onDrain() {}, onReset() {} };
        },
      });
      const flood = Array.from({ length: 900 }, (_, at) => frames.map((frame) => frame(at))).flat();
      server.connection.receive(Buffer.concat([connectionPreface, rawFrame(4, 0, 0), ...flood]));
      for (let turn = 0; turn < 5; turn++) {
        while (due.length > 0) due.shift()?.();
        const before = whole;
        idle.shift()?.();
        if (one) assert.equal(whole, before + 1);
        else assert.ok(whole > before + 1, `${whole - before}`);
      }
    });
  }
});
