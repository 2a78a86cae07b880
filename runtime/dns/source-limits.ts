import { plainAddress } from '../socket-address.ts';
import { sourceNetwork } from '../source-network.ts';

/** How many queries a second one source may send over UDP before it is sent to TCP, where nobody can speak in another's name. */
const maxPerSecond = 2_000;
/** Sources counted apart in one second; those beyond share one count. */
const maxSources = 10_000;

/**
 * Queries by source within the running second. Loopback is not counted: its addresses can't be forged from outside, and a resolver of this host asks for
 * everybody on it.
 */
export class SourceLimits {
  readonly #counts = new Map<string, number>();
  readonly #max: number;
  #second = 0;

  constructor(max: number = maxPerSecond) {
    this.#max = max;
  }

  /** @returns whether the source is still within its bound. `nowMs` is monotonic. */
  admits(address: string, nowMs: number): boolean {
    if (isLoopbackSource(address)) return true;
    const second = Math.floor(nowMs / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#counts.clear();
    }
    const network = sourceNetwork(address);
    const source = this.#counts.size >= maxSources && !this.#counts.has(network) ? 'others' : network;
    const count = (this.#counts.get(source) ?? 0) + 1;
    this.#counts.set(source, count);
    return count <= this.#max;
  }
}

/** True for 127.0.0.0/8 and ::1, also as a socket of both families shows them. */
export function isLoopbackSource(address: string): boolean {
  return address === '::1' || plainAddress(address).startsWith('127.');
}

/** True for loopback and for addresses that are not routed on the internet: RFC 1918, RFC 6598, link-local, fc00::/7. */
export function isPrivateSource(address: string): boolean {
  if (isLoopbackSource(address)) return true;
  const plain = plainAddress(address);
  return (
    /^(?:10\.|192\.168\.|172\.(?:1[6-9]|2\d|3[01])\.|169\.254\.|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.)/.test(
      plain,
    ) || /^f(?:[cd]|e[89ab])/.test(plain)
  );
}
