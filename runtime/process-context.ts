import type { Clock, Random, RandomBytes } from './clock.ts';
import { systemClock, systemRandom, systemRandomBytes } from './clock.ts';
import { ListeningSockets } from './listening-sockets.ts';
import type { Logger } from './logging.ts';

/** What every process is given of the world (invariant 9): tests pass their own. */
export interface ProcessContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly randomBytes: RandomBytes;
  readonly log: Logger;
  /** Where it listens. */
  readonly sockets: ListeningSockets;
}

/** The real world with a given logger. */
export function systemContext(log: Logger, sockets = new ListeningSockets()): ProcessContext {
  return { clock: systemClock, random: systemRandom, randomBytes: systemRandomBytes, log, sockets };
}
