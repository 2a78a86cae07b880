import { Agent, type RequestOptions } from 'node:https';
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { SpiffeId } from '#policies/spiffe-id.ts';
import type { Clock } from './clock.ts';
import type { Svid } from './svid/svid.ts';
import type { TrustSource } from './svid/trust.ts';
import { verifySocket } from './svid/verify-peer.ts';
import { dialTls } from './tls-identity.ts';

/** Which server is the right one: an ID, or a question to be asked of its ID. */
export type Expectation = SpiffeId | ((id: SpiffeId) => boolean);

/** Everything that decides with whom a connection speaks and as whom. Connections are shared among requests only where all of it is the same. */
export interface MeshConnection {
  readonly expect?: Expectation | undefined;
  readonly svid?: Svid | undefined;
  readonly trust: TrustSource;
  readonly clock: Clock;
}

type MeshRequestOptions = RequestOptions & { readonly mesh?: MeshConnection };

const idleConnectionMs = 20_000;

/**
 * Keep-alive connections to mesh services, judged by our verifier instead of by names. An idle connection is judged again before it is used again:
 * its peer's SVID may have run out, been revoked, or lost its root since.
 */
class MeshAgent extends Agent {
  constructor(keepAlive: boolean) {
    super({ keepAlive, maxFreeSockets: 4, timeout: idleConnectionMs, maxCachedSessions: 0 });
  }

  override getName(options: MeshRequestOptions = {}): string {
    const { hostname, port, mesh } = options;
    return [hostname, port, ...(mesh === undefined ? [] : [mesh.svid, mesh.trust, mesh.expect].map(numberOf))].join(
      ' ',
    );
  }

  override createConnection(
    options: MeshRequestOptions,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): Duplex | null | undefined {
    const { mesh, hostname, port, signal } = options;
    if (mesh === undefined || callback === undefined) throw new TypeError('a mesh connection needs a verifier');
    const judge = (socket: TLSSocket) => judgeServer(socket, mesh);
    dialTls({ host: hostname ?? '', port: Number(port), svid: mesh.svid, judge, alpn: ['http/1.1'], signal }).then(
      (socket) => callback(null, socket),
      // The agent reads no stream beside an error; its type asks for one.
      (error: Error) => (callback as (error: Error) => void)(error),
    );
    return undefined;
  }

  /** Drops idle connections whose peer would not be let in now. */
  judgeIdle(options: MeshRequestOptions & { readonly mesh: MeshConnection }): void {
    for (const socket of this.freeSockets[this.getName(options)] ?? []) {
      try {
        if (socket instanceof TLSSocket) judgeServer(socket, options.mesh);
      } catch {
        socket.destroy(); // a fresh connection will say why, if the peer still would not pass
      }
    }
  }
}

/** Keeps connections for further requests. */
export const keepingAgent = new MeshAgent(true);
/** One connection for one request. */
export const singleUseAgent = new MeshAgent(false);

/** Throws SLV-2020 when the server has no valid SVID, SLV-2010 when it has somebody else's. */
function judgeServer(socket: TLSSocket, mesh: MeshConnection): void {
  const { spiffeId } = verifySocket(socket, mesh.trust, mesh.clock());
  const { expect } = mesh;
  if (expect === undefined || (typeof expect === 'string' ? expect === spiffeId : expect(spiffeId))) return;
  throw new MeshError(
    'SLV-2010',
    `The server is ${spiffeId}${typeof expect === 'string' ? `, ${expect} was expected` : ', which is not the one expected'}.`,
    { detail: { spiffeId } },
  );
}

/** A number for each object, so that "the same" can be part of a name; IDs stand for themselves. */
const numbers = new WeakMap<object, number>();
let lastNumber = 0;

function numberOf(part: object | string | undefined): string {
  if (part === undefined || typeof part === 'string') return part ?? '-';
  let number = numbers.get(part);
  if (number === undefined) {
    lastNumber += 1;
    number = lastNumber;
    numbers.set(part, number);
  }
  return String(number);
}
