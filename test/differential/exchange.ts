import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { mutated, requests, requestText } from '#edge-proxy/http1/generated-requests.ts';
import { cut, recordRequests } from '#edge-proxy/http1/recorder.ts';
import { dialTlsPeer, type RawPeer } from '../raw-client.ts';
import { Mesh } from '../sidecars.ts';
import { type Http2Request, http2Conversations, http2Reading, sayInHttp2 } from './http2-requests.ts';
import { ReaderConnection } from './reader-connection.ts';
import { startReaders } from './readers.ts';
import { forwardedReading, type Reading } from './reading.ts';
import { smuggledRequests } from './smuggled-requests.ts';
import { Tap } from './tap.ts';

const wellFormed = requests.map(requestText);

/** What a caller says on one connection (latin1): well-formed requests, damaged ones, and such as are made to be misread, one behind the other. */
export const conversations: fc.Arbitrary<string> = fc
  .array(fc.oneof(wellFormed, mutated(wellFormed), smuggledRequests, smuggledRequests, mutated(smuggledRequests)), {
    minLength: 1,
    maxLength: 4,
  })
  .map((texts) => texts.join(''));

/** What a run was about. */
export interface Tally {
  conversations: number;
  /** Requests that we read, of all that the conversations held. */
  read: number;
  forwarded: number;
  refusals: Readonly<Record<string, number>>;
}

/** Where a caller comes in. */
type Way = 'both proxies' | 'inbound port';

/** Our two proxies with all readers behind them. */
export interface Differential {
  readonly tally: Tally;
  /** Says this on a connection of its own, in pieces, to the proxy of `web` or, as a hostile client with an SVID, to that of `db`. @throws Error when what is behind reads otherwise than we did */
  compare(conversation: string, cuts: readonly number[], way: Way): Promise<void>;
  /** The same in HTTP/2, which one of the proxies translates. */
  compareHttp2(requests: readonly Http2Request[], way: Way): Promise<void>;
  /** What those behind that resolve a path make of this one, asked without us between. */
  pathsRead(path: string): Promise<readonly string[]>;
  end(): Promise<void>;
}

export async function startDifferential(): Promise<Differential> {
  const directory = await mkdtemp(join(tmpdir(), 'selvedge-differential-'));
  const behind = await startReaders(directory);
  const tap = new Tap(behind.readers);
  const mesh = new Mesh({ applications: [tap.server] });
  mesh.defer(() => tap.end());
  await mesh.start();
  const direct = behind.readers.map((reader) => new ReaderConnection(reader));
  const tally: Tally = { conversations: 0, read: 0, forwarded: 0, refusals: {} };
  /** Requests that were reset while they were on their way: the application may hear of them behind the conversation. */
  let late: readonly Reading[] = [];
  const judge = (read: readonly (Reading | undefined)[]): readonly Reading[] => {
    const { forwarded, refusals } = tap.take();
    const left = inOrderOf([...late, ...read.filter((reading) => reading !== undefined)], forwarded);
    late = [];
    tally.conversations += 1;
    tally.read += read.length;
    tally.forwarded += forwarded.length;
    tally.refusals = Object.fromEntries(refusals);
    mesh.log.length = 0; // of long runs it would be all memory
    return left;
  };
  return {
    tally,
    async compare(conversation, cuts, way) {
      const pieces = cut(conversation, cuts);
      const { db, webSvid } = mesh;
      const peer = way === 'both proxies' ? mesh.dial() : (await dialTlsPeer(db.inboundPort, webSvid.current)).peer;
      await say(peer, pieces);
      const { messages } = recordRequests(pieces, true);
      judge(messages.map(forwardedReading));
    },
    async compareHttp2(requests, way) {
      const { db, webSvid } = mesh;
      const h2 = { ALPNProtocols: ['h2'] };
      const peer = way === 'both proxies' ? mesh.dial() : (await dialTlsPeer(db.inboundPort, webSvid.current, h2)).peer;
      await sayInHttp2(peer.socket, requests);
      late = judge(requests.map(http2Reading));
    },
    async pathsRead(path) {
      const answers = await Promise.all(
        direct.map((reader) => {
          reader.send(Buffer.from(`GET ${path} HTTP/1.1\r\nHost: db\r\n\r\n`, 'latin1'));
          return reader.answer();
        }),
      );
      return answers.flatMap((answer) => {
        if ('refusedWith' in answer) throw new Error(`${path} is refused with ${answer.refusedWith}`);
        return answer.path === undefined ? [] : [Buffer.from(answer.path, 'latin1').toString()];
      });
    },
    async end() {
      for (const reader of direct) reader.end();
      await mesh.close();
      await behind.end();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** All requests of a conversation, then no more: ends when the proxy has ended it. */
async function say({ socket }: RawPeer, pieces: readonly Buffer[]): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const timer = setTimeout(reject, 10_000, new Error('the proxy neither answers nor hangs up'));
  socket.once('close', () => resolve());
  try {
    for (const piece of pieces) {
      socket.write(piece);
      await new Promise((resume) => setImmediate(resume));
    }
    socket.end();
    await promise;
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

/** Requests may be refused, none may change, come twice or come from nowhere. @returns those behind the last that came */
function inOrderOf(due: readonly Reading[], forwarded: readonly Reading[]): readonly Reading[] {
  const left = due.map((reading) => JSON.stringify(reading));
  for (const reading of forwarded) {
    const claims = reading.headers.filter((header) => /^(selvedge-|x-selvedge-|x-forwarded-client-cert:)/.test(header));
    if (claims.length !== 2) throw new Error(`more says who calls than we do: ${JSON.stringify(reading)}`);
    const at = left.indexOf(JSON.stringify(reading));
    if (at < 0) throw new Error(`forwarded, but not asked: ${JSON.stringify(reading)}\nasked: ${left.join('\n')}`);
    left.splice(0, at + 1);
  }
  return due.slice(due.length - left.length);
}

/** Compares conversations until the time is over. @throws Error with the smallest one that is read differently, and the seed */
export async function compareFor(
  differential: Differential,
  { seed, durationMs }: { readonly seed: number; readonly durationMs: number },
): Promise<void> {
  const places = fc.array(fc.nat(2_000), { maxLength: 6 });
  const untilMs = performance.now() + durationMs;
  // A handshake takes longer than all else.
  const ways = fc.oneof(
    { arbitrary: fc.constant('both proxies' as const), weight: 7 },
    { arbitrary: fc.constant('inbound port' as const), weight: 1 },
  );
  const property = fc.asyncProperty(conversations, places, ways, (conversation, cuts, way) =>
    differential.compare(conversation, cuts, way),
  );
  const inHttp2 = fc.asyncProperty(http2Conversations, ways, (requests, way) =>
    differential.compareHttp2(requests, way),
  );
  // In batches: a run that is interrupted would go on behind our back.
  for (let round = 0; performance.now() < untilMs; round++) {
    await fc.assert(property, { seed: seed + round, numRuns: 40 });
    await fc.assert(inHttp2, { seed: seed + round, numRuns: 20 });
  }
}
