import type { FrameWriter } from './frame-writer.ts';
import type { TunnelLimits } from './tunnel.ts';
import type { WindowGrowth } from './window-growth.ts';

/** How long the last GOAWAY of a drain waits for the peer to have seen the first, ms. */
const farewellDelayMs = 1_000;

/** Is the peer there: acknowledgement of SETTINGS, PING after silence, and the round trips that both show. Time is passed in, monotonic, ms. */
export class SignsOfLife {
  readonly #writer: FrameWriter;
  readonly #growth: WindowGrowth;
  readonly #limits: TunnelLimits;
  #heardAtMs: number;
  /** When our SETTINGS were sent, until they are acknowledged. */
  #settingsSentAtMs: number | undefined;
  #pingSentAtMs: number | undefined;
  #pingNumber = 0;
  #farewell: { number: number; sentAtMs: number } | undefined;
  readonly #opaque = Buffer.alloc(8);

  constructor(writer: FrameWriter, growth: WindowGrowth, limits: TunnelLimits, nowMs: number) {
    this.#writer = writer;
    this.#growth = growth;
    this.#limits = limits;
    this.#heardAtMs = nowMs;
    this.#settingsSentAtMs = nowMs;
  }

  /** Bytes have come. */
  heard(nowMs: number): void {
    this.#heardAtMs = nowMs;
  }

  /** @returns false: we had not asked */
  settingsAcknowledged(nowMs: number): boolean {
    if (this.#settingsSentAtMs === undefined) return false;
    this.#growth.sample(nowMs - this.#settingsSentAtMs, nowMs);
    this.#settingsSentAtMs = undefined;
    return true;
  }

  /** Takes a PING's answer. */
  answered(opaque: Buffer, nowMs: number): 'known' | 'farewell' | 'unknown' {
    const number = opaque.readUInt32BE(4);
    if (this.#farewell?.number === number) return 'farewell';
    if (this.#pingSentAtMs === undefined || number !== this.#pingNumber) return 'unknown';
    this.#growth.sample(nowMs - this.#pingSentAtMs, nowMs);
    this.#pingSentAtMs = undefined;
    return 'known';
  }

  /** Measures the round trip anew, when the last one is old. */
  measure(nowMs: number): void {
    if (this.#pingSentAtMs !== undefined || !this.#growth.stale(nowMs)) return;
    this.#pingSentAtMs = nowMs;
    this.#ping();
  }

  /** A PING whose answer shows that the peer has read what was sent before it. */
  pingForFarewell(nowMs: number): void {
    this.#pingSentAtMs = undefined;
    this.#farewell = { number: this.#ping(), sentAtMs: nowMs };
  }

  farewellOverdue(nowMs: number): boolean {
    return this.#farewell !== undefined && nowMs - this.#farewell.sentAtMs >= farewellDelayMs;
  }

  /** Pings a silent peer. @returns what has stayed unanswered for too long */
  check(nowMs: number): 'settings' | 'ping' | undefined {
    const { answerTimeoutMs, keepAliveIdleMs } = this.#limits;
    if (this.#settingsSentAtMs !== undefined && nowMs - this.#settingsSentAtMs >= answerTimeoutMs) return 'settings';
    if (this.#pingSentAtMs !== undefined) {
      // Whatever it sends shows that it lives: the answer may stand behind a lot of data.
      const silentSince = Math.max(this.#pingSentAtMs, this.#heardAtMs);
      return nowMs - silentSince >= answerTimeoutMs ? 'ping' : undefined;
    }
    if (nowMs - this.#heardAtMs >= keepAliveIdleMs) {
      this.#pingSentAtMs = nowMs;
      this.#ping();
    }
    return undefined;
  }

  #ping(): number {
    this.#pingNumber = (this.#pingNumber + 1) >>> 0;
    this.#opaque.writeUInt32BE(this.#pingNumber, 4);
    this.#writer.ping(this.#opaque, false);
    return this.#pingNumber;
  }
}
