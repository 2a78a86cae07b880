import type { TLSSocket } from 'node:tls';
import type { Clock } from './clock.ts';
import type { Logger } from './logging.ts';
import type { TrustSource } from './svid/trust.ts';
import { clockSkewMs, sentChain, type VerifiedPeer, verifySocket } from './svid/verify-peer.ts';

/** How often connections are looked over for peers whose SVID has run out. */
const sweepMs = 15_000;

/**
 * The accepted connections of a server and who is at their other end. A peer is judged at the handshake, again at every change of the trust (a root
 * removed, an SVID revoked), and its connection ends when its SVID has: a certificate that expires mid-stream is expired.
 */
export class TlsPeers {
  readonly #trust: TrustSource;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #end: (socket: TLSSocket, why: string) => void;
  readonly #peers = new Map<TLSSocket, VerifiedPeer>();
  readonly #stops: (() => void)[];

  /** @param options.end ends the connection of a peer that may not have one, or not any more; absent: at once */
  constructor(options: {
    trust: TrustSource;
    clock: Clock;
    log: Logger;
    end?: (socket: TLSSocket, why: string) => void;
  }) {
    this.#trust = options.trust;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#end = options.end ?? ((socket) => socket.destroy());
    const sweep = setInterval(() => this.#endExpired(), sweepMs).unref();
    this.#stops = [() => clearInterval(sweep), this.#trust.onChange(() => this.#judgeAgain())];
  }

  /**
   * Judges a connection whose handshake has just finished. One without a certificate is let in as a stranger; one with a certificate that does not
   * verify is ended.
   *
   * @returns whether the connection may be used
   */
  admit(socket: TLSSocket): boolean {
    const chain = sentChain(socket);
    if (chain.length === 0 && !socket.isSessionReused()) return true;
    if (!this.#judge(socket, chain)) return false;
    socket.once('close', () => this.#peers.delete(socket));
    return true;
  }

  /** @returns the verified peer, or undefined for a stranger */
  of(socket: TLSSocket): VerifiedPeer | undefined {
    return this.#peers.get(socket);
  }

  close(): void {
    for (const stop of this.#stops) stop();
  }

  #judge(socket: TLSSocket, chain?: readonly Uint8Array[]): boolean {
    try {
      this.#peers.set(socket, verifySocket(socket, this.#trust, this.#clock(), chain));
      return true;
    } catch (err) {
      this.#log.warn({ err, remoteAddress: socket.remoteAddress }, 'peer refused');
      this.#peers.delete(socket);
      this.#end(socket, 'the certificate does not verify');
      return false;
    }
  }

  #judgeAgain(): void {
    for (const socket of [...this.#peers.keys()]) this.#judge(socket);
  }

  #endExpired(): void {
    const nowMs = this.#clock();
    for (const [socket, peer] of this.#peers) {
      if (nowMs <= peer.notAfterMs + clockSkewMs) continue;
      this.#peers.delete(socket);
      this.#end(socket, 'the certificate has expired');
    }
  }
}
