import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FairTurns } from './fair-turns.ts';
import { connectionPreface, frameType } from './http2.ts';
import { encodeFields, rawFrame, record, WireEnd } from './memory-wire.ts';

const settings = rawFrame(frameType.settings, 0, 0);
const connectHead = encodeFields([
  [':method', 'CONNECT'],
  [':authority', 'db:80'],
]);

test('the streams of a connection that is cut end a slice a turn; what their owners say meanwhile goes nowhere', () => {
  const clock = { nowMs: 0 };
  const due: (() => void)[] = [];
  const turns = new FairTurns((next) => due.push(next));
  const server = new WireEnd('server', clock, { lines: { turns, idleTurns: turns } });
  const heads = Array.from({ length: 40 }, (_, at) => rawFrame(frameType.headers, 4, at * 2 + 1, connectHead));
  server.connection.receive(Buffer.concat([connectionPreface, settings, ...heads]));
  const streams = server.offered.map(({ stream }) => stream);
  const told = streams.map(record);
  for (const stream of streams) {
    const { onReset } = stream.handlers;
    stream.handlers.onReset = (code, remote) => {
      clock.nowMs += 0.05; // what hangs on it takes its time
      onReset(code, remote);
    };
  }
  const ended = (): number => told.filter(({ resets }) => resets.length > 0).length;

  server.connection.receive(Buffer.concat(Array.from({ length: 80 }, () => settings)));
  assert.equal(server.connection.activeStreams, 0);
  assert.match(String(server.closedWith), /flood of settings/, 'told at once');
  assert.match(server.take().toString('latin1'), /flood of settings$/);
  assert.equal(ended(), 8);
  streams[20]?.accept();
  streams[20]?.write('too late');
  streams[21]?.refuse(503);
  assert.equal(server.take().length, 0);

  const counts: number[] = [];
  while (due.length > 0) {
    for (const next of due.splice(0)) next();
    counts.push(ended());
  }
  // The last turn finds nobody in the line; who was refused hears of no reset.
  assert.deepEqual(counts, [16, 23, 31, 39, 39]);
});
