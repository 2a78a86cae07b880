import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import type { RandomBytes } from '../clock.ts';
import { formatSocketAddress, type SocketAddress } from '../socket-address.ts';
import { headerBytes, headerFlags } from './protocol.ts';
import type { Question } from './query.ts';
import { splitFrames, writeFrame } from './tcp-framing.ts';

/** How a query came, and so how it is passed on: an answer that was cut for UDP is asked for again by TCP, by whoever asked first. */
export type Transport = 'udp' | 'tcp';

/** Each server gets this long, all together no longer than a stub resolver waits (resolv.conf: 5 s). */
const tryMs = 2_000;
const totalMs = 4_500;
/** Questions under way at once: of all, and of one name and type. */
const maxInFlight = 512;
const maxAlike = 64;

/**
 * Asks other DNS servers what is not ours, one after the other. The question goes out and the answer comes back byte by byte, but for the id.
 *
 * Answers can't be forged from afar: each try has a socket, so a port, of its own, which hears one server only, and a random id; the question must come
 * back as it went. A query under way is not sent again: whoever asks the same waits for the same answer. Of one name and type, only so many are under
 * way, so a loop (a server that asks us what we ask it) soon ends, even if it changes its queries on each round.
 */
export class Recursor {
  readonly #servers: readonly SocketAddress[];
  readonly #randomBytes: RandomBytes;
  readonly #underway = new Map<string, Promise<Uint8Array | undefined>>();
  readonly #alike = new Map<string, number>();
  readonly #stop = new AbortController();

  constructor(servers: readonly SocketAddress[], randomBytes: RandomBytes) {
    this.#servers = servers;
    this.#randomBytes = randomBytes;
  }

  get inFlight(): number {
    return this.#underway.size;
  }

  /** @returns the answer, under the id of the query; undefined if no server gave one in time, or too many questions are under way */
  async ask(message: Uint8Array, question: Question, transport: Transport): Promise<Uint8Array | undefined> {
    // All that shapes an answer: flags, case of the name, EDNS.
    const key = `${transport} ${Buffer.from(message.buffer, message.byteOffset + 2, message.length - 2).toString('latin1')}`;
    let underway = this.#underway.get(key);
    if (underway === undefined) {
      const about = `${question.type} ${question.name.join('.')}`;
      const alike = this.#alike.get(about) ?? 0;
      if (this.#underway.size >= maxInFlight || alike >= maxAlike) return undefined;
      this.#alike.set(about, alike + 1);
      underway = this.#tryAll(Buffer.from(message), question, transport).finally(() => {
        this.#underway.delete(key);
        const left = (this.#alike.get(about) ?? 1) - 1;
        if (left === 0) this.#alike.delete(about);
        else this.#alike.set(about, left);
      });
      this.#underway.set(key, underway);
    }
    const answer = await underway;
    if (answer === undefined) return undefined;
    const copy = Buffer.from(answer);
    copy.set(message.subarray(0, 2));
    return copy;
  }

  close(): void {
    this.#stop.abort();
  }

  async #tryAll(message: Buffer, question: Question, transport: Transport): Promise<Uint8Array | undefined> {
    const deadline = performance.now() + totalMs;
    for (const server of this.#servers) {
      const leftMs = Math.min(tryMs, deadline - performance.now());
      if (leftMs <= 0 || this.#stop.signal.aborted) return undefined;
      const query = Buffer.from(message);
      query.set(this.#randomBytes(2), 0);
      const ask = transport === 'udp' ? askByUdp : askByTcp;
      const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(Math.ceil(leftMs))]);
      const answer = await ask(server, query, (bytes) => answers(bytes, query, question), signal);
      // Another server may know what this one could not find out.
      if (answer !== undefined && !isFailure(answer)) return answer;
    }
    return undefined;
  }
}

/** Whether a message is the answer to this very query. */
function answers(message: Uint8Array, query: Uint8Array, question: Question): boolean {
  const { wire } = question;
  if (message.length < headerBytes + wire.length) return false;
  const flags = ((message[2] ?? 0) << 8) | (message[3] ?? 0);
  return (
    (flags & headerFlags.response) !== 0 &&
    message[0] === query[0] &&
    message[1] === query[1] &&
    wire.every((byte, index) => message[headerBytes + index] === byte)
  );
}

/** SERVFAIL, NOTIMP, REFUSED. */
function isFailure(message: Uint8Array): boolean {
  return [2, 4, 5].includes((message[3] ?? 0) & 0xf);
}

type Ask = (
  server: SocketAddress,
  query: Buffer,
  isAnswer: (message: Uint8Array) => boolean,
  signal: AbortSignal,
) => Promise<Uint8Array | undefined>;

const askByUdp: Ask = (server, query, isAnswer, signal) => {
  const { promise, resolve } = Promise.withResolvers<Uint8Array | undefined>();
  const socket = createSocket(isIPv6(server.host) ? 'udp6' : 'udp4');
  const end = (answer: Uint8Array | undefined): void => {
    signal.removeEventListener('abort', give);
    socket.removeAllListeners();
    // A port unreachable that arrives behind the answer is nobody's business any more.
    socket.on('error', () => {});
    socket.close();
    resolve(answer);
  };
  const give = (): void => end(undefined);
  signal.addEventListener('abort', give);
  socket.once('error', give);
  socket.on('message', (message) => {
    if (isAnswer(message)) end(message);
  });
  socket.connect(server.port, server.host, () => socket.send(query));
  return promise;
};

const askByTcp: Ask = (server, query, isAnswer, signal) => {
  const { promise, resolve } = Promise.withResolvers<Uint8Array | undefined>();
  const socket = connect({ host: server.host, port: server.port });
  const end = (answer: Uint8Array | undefined): void => {
    signal.removeEventListener('abort', give);
    socket.destroy();
    resolve(answer);
  };
  const give = (): void => end(undefined);
  signal.addEventListener('abort', give);
  socket.on('error', give);
  socket.once('close', give);
  let pending: Buffer = Buffer.alloc(0);
  socket.on('data', (chunk: Buffer) => {
    const { frames, rest } = splitFrames(Buffer.concat([pending, chunk]));
    pending = rest;
    const [first] = frames;
    if (first !== undefined) end(isAnswer(first) ? first : undefined);
  });
  socket.write(writeFrame(query));
  return promise;
};

/** @returns the first server that is this one itself, as text; undefined when none is */
export function ownAddressAmong(servers: readonly SocketAddress[], own: SocketAddress): string | undefined {
  const isOwn = ({ host, port }: SocketAddress) =>
    port === own.port && (host === own.host || own.host === '0.0.0.0' || own.host === '::');
  const found = servers.find(isOwn);
  return found && formatSocketAddress(found);
}
