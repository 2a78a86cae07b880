import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';

/**
 * Where the identity service of a mesh is: one process, or several of which any will do. The one that answered last is asked first; another is asked when that
 * one can't be reached, does not prove itself, or says that it is not well. What it refuses is refused by all.
 */
export class IdentityEndpoints {
  readonly #urls: readonly [string, ...string[]];
  #preferred = 0;

  /** @throws MeshError SLV-1003 for none, SLV-1002 for plain and TLS mixed */
  constructor(urls: string | readonly string[]) {
    const [first, ...others] = (typeof urls === 'string' ? [urls] : urls).map((url) => url.replace(/\/+$/, ''));
    if (first === undefined) throw new MeshError('SLV-1003', 'No identity service is named: give --identity.');
    this.#urls = [first, ...others];
    if (this.#urls.some((url) => isPlain(url) !== isPlain(first)))
      throw new MeshError('SLV-1002', 'The identity services are named by http and by https: they are one mesh.');
  }

  /** Plain HTTP, as in `dev`: nothing is proven. */
  get isPlain(): boolean {
    return isPlain(this.#urls[0]);
  }

  /** The one that answered last, or is to be asked first. */
  get preferred(): string {
    return this.#urls[this.#preferred] ?? this.#urls[0];
  }

  /** Makes an attempt at each until one succeeds. @throws what the last one does */
  async ask<T>(attempt: (url: string) => Promise<T>): Promise<T> {
    const first = this.#preferred;
    for (let tried = 1; ; tried++) {
      const index = (first + tried - 1) % this.#urls.length;
      try {
        const answer = await attempt(this.#urls[index] ?? this.#urls[0]);
        this.#preferred = index;
        return answer;
      } catch (error) {
        if (tried === this.#urls.length || !mayDoElsewhere(error)) throw error;
      }
    }
  }
}

function mayDoElsewhere(error: unknown): boolean {
  if (isMeshError(error, 'SLV-2014')) return Number(error.detail['status']) >= 500;
  return isMeshError(error, 'SLV-1006') || isMeshError(error, 'SLV-2010') || isMeshError(error, 'SLV-2020');
}

function isPlain(url: string): boolean {
  return url.startsWith('http:');
}
