import { randomBytes } from 'node:crypto';

/** Wall clock in milliseconds since the Unix epoch. Passed in, so that tests own time. */
export type Clock = () => number;

/** A number in [0, 1), for jitter and sampling. Passed in, so that tests own chance. Not for secrets. */
export type Random = () => number;

/** Cryptographically strong bytes, for tokens, serials and keys. */
export type RandomBytes = (size: number) => Uint8Array;

/** The real clock. */
export const systemClock: Clock = () => Date.now();

/** The real chance. */
export const systemRandom: Random = () => Math.random();

/** The operating system's randomness. */
export const systemRandomBytes: RandomBytes = (size) => randomBytes(size);
