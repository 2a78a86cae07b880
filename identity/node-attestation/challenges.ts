import { createHmac, timingSafeEqual } from 'node:crypto';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { ProcessContext } from '#runtime/process-context.ts';

const lifeMs = 60_000;
/** Used ones remembered at most; the rate limit lets far fewer through within their life. */
const maxRemembered = 100_000;

/**
 * Challenges that are good once, within a minute: `<time>.<random>.<MAC>`. Nothing is remembered of one that was made, so that asking for many costs no
 * memory; only of those that were used. The MAC's key lives as long as the process: after a restart a node asks again.
 */
export class Challenges {
  readonly #context: Pick<ProcessContext, 'clock' | 'randomBytes'>;
  readonly #key: Uint8Array;
  /** By time of end. */
  readonly #used = new Map<string, number>();

  constructor(context: Pick<ProcessContext, 'clock' | 'randomBytes'>) {
    this.#context = context;
    this.#key = context.randomBytes(32);
  }

  make(): string {
    const random = Buffer.from(this.#context.randomBytes(24)).toString('base64url');
    const body = `${this.#context.clock() + lifeMs}.${random}`;
    return `${body}.${this.#macOf(body)}`;
  }

  /**
   * Uses a challenge up.
   * @throws MeshError SLV-2107, SLV-2160
   */
  use(challenge: string): void {
    const [, body = '', end = '', mac = ''] =
      /^((\d{1,16})\.[A-Za-z0-9_-]{32})\.([A-Za-z0-9_-]{43})$/.exec(challenge) ?? [];
    const expected = Buffer.from(this.#macOf(body));
    const given = Buffer.from(mac);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw refused('it is none of ours');
    const nowMs = this.#context.clock();
    const endMs = Number(end);
    if (nowMs >= endMs) throw refused('it has expired; ask for another');
    // The clock went back, perhaps over an hour: it would be good for as long.
    if (endMs > nowMs + 2 * lifeMs) throw refused('it is of another time; ask for another');
    for (const [old, oldEndMs] of this.#used) {
      if (oldEndMs > nowMs) break;
      this.#used.delete(old);
    }
    if (this.#used.has(body)) throw refused('it was used before');
    if (this.#used.size >= maxRemembered) {
      throw new MeshError('SLV-2160', 'Too many challenges within a minute.', { detail: { retryAfterSeconds: 60 } });
    }
    this.#used.set(body, endMs);
  }

  #macOf(body: string): string {
    return createHmac('sha256', this.#key).update(body).digest('base64url');
  }
}

function refused(flaw: string): MeshError {
  return new MeshError('SLV-2107', `The challenge is refused: ${flaw}.`);
}
