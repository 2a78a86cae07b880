import { Agent } from 'node:http';
import { type Duplex, duplexPair } from 'node:stream';
import type { Sidecar } from '#edge-proxy/sidecar.ts';
import { duplexStream } from './duplex-stream.ts';

/** An agent of node:http whose connections lead into the mesh, without a port or a socket between. */
export class MeshAgent extends Agent {
  readonly #sidecar: Sidecar;

  constructor(sidecar: Sidecar) {
    // A connection costs next to nothing: what is dear, the tunnels, is kept behind it.
    super({ keepAlive: false, maxSockets: Number.POSITIVE_INFINITY });
    this.#sidecar = sidecar;
  }

  override createConnection(): Duplex {
    const [near, far] = duplexPair();
    // Each end must hear of the other's: a pair does not tell.
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy(near.readableEnded ? undefined : new Error('the connection broke')));
    far.on('error', () => {}); // told by `close`
    this.#sidecar.serveNamed(duplexStream(far));
    return near;
  }
}
