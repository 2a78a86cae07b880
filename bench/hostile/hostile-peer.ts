/**
 * A hostile peer as a process of its own: `hostile-peer.ts FLOOD PORT SVID-FILE SUBJECT`. It keeps up as many connections as the flood has, and begins another in the
 * moment in which one is cut. It says when the first is there, and at SIGTERM how much of it came through, as JSON.
 */
import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { ownSubject } from '../report.ts';
import { begun, type Flood, floods } from './floods.ts';

/** Pieces that are written in one turn of the event loop, so that it also hears when it is cut. */
const piecesATurn = 8;

const [name, port, svidFile, subject] = process.argv.slice(2);
const flood = floods.find((one) => one.name === name);
if (flood === undefined || svidFile === undefined || subject === undefined)
  throw new Error('FLOOD PORT SVID-FILE SUBJECT');
const { chainPem, keyPem } = JSON.parse(readFileSync(svidFile, 'utf8')) as { chainPem: string; keyPem: string };
const counts = { connections: 0, bytes: 0 };

for (let count = 0; count < flood.connections; count++) begin(flood);
process.once('SIGTERM', () => {
  console.log(JSON.stringify(counts));
  process.exit(0);
});

function begin(flood: Flood): void {
  const socket = open(flood);
  const attack = flood.attack(subject === ownSubject);
  const go = (): void => {
    if (counts.connections === 0) console.log(begun);
    counts.connections += 1;
    counts.bytes += attack.greeting.length;
    if (attack.next === undefined) {
      if (attack.greeting.length === 0) socket.destroy();
      else socket.write(attack.greeting, () => socket.destroy());
      return;
    }
    socket.write(attack.greeting);
    send(socket, attack.next, flood.pauseMs);
  };
  socket.once(flood.at === 'inbound' ? 'secureConnect' : 'connect', go);
  socket.resume();
  socket.on('error', () => socket.destroy()); // to be cut is what it came for
  socket.once('close', () => setImmediate(() => begin(flood)));
}

function open({ at, alpn, authenticated }: Flood): Socket {
  const place = { host: '127.0.0.1', port: Number(port) };
  if (at === 'outbound') return connect(place);
  const shown = authenticated ? { cert: chainPem, key: keyPem } : {};
  return connectTls({ ...place, ...shown, rejectUnauthorized: false, minVersion: 'TLSv1.3', ALPNProtocols: [alpn] });
}

function send(socket: Socket, next: () => Buffer, pauseMs: number): void {
  if (socket.destroyed) return;
  const pieces = pauseMs > 0 ? 1 : piecesATurn;
  let more = true;
  for (let piece = 0; piece < pieces && more; piece++) {
    const bytes = next();
    counts.bytes += bytes.length;
    more = socket.write(bytes);
  }
  const goOn = (): void => send(socket, next, pauseMs);
  // A socket that takes all drains within the turn, and what else there is to hear would wait for ever.
  if (!more) socket.once('drain', () => setImmediate(goOn));
  else if (pauseMs > 0) setTimeout(goOn, pauseMs);
  else setImmediate(goOn);
}
