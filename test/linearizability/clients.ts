import { setTimeout as delay } from 'node:timers/promises';
import type { Addressed, Recorder } from './recorder.ts';

/** Between two operations of a client: the load is for finding interleavings, not for heating the machine. */
const thinkMs = 4;
/** The same for those who only read from memory, and are as quick as the machine. */
const readerThinkMs = 15;
/** Few keys, so that clients meet. */
const keysPerRound = 3;

/** Clients at work until their scope is left. */
export interface Clients extends AsyncDisposable {
  /** From here on they work on fresh keys, so that a history of one key stays short enough to be judged. */
  nextRound(): void;
}

/**
 * Starts clients of all kinds on these catalogs.
 *
 * @param random as Math.random
 */
export function startClients(recorder: Recorder, catalogs: readonly Addressed[], random: () => number): Clients {
  let round = 0;
  let stopped = false;
  let unique = 0;
  const oneOf = <T>(things: readonly T[]): T => {
    const one = things[Math.floor(random() * things.length)];
    if (one === undefined) throw new Error('nothing to choose from');
    return one;
  };
  const keyOf = (kind: string): string => `linear/${kind}-${round}-${Math.floor(random() * keysPerRound)}`;
  const work = async (operation: () => Promise<unknown>, pauseMs = thinkMs): Promise<void> => {
    while (!stopped) {
      await operation();
      await delay(pauseMs);
    }
  };

  /** Reads, and sets to something new what it has read; now and then without looking, or deletes. */
  const changes = (client: number) => async (): Promise<void> => {
    const key = keyOf('register');
    const value = `${client}.${++unique}`;
    const dice = random();
    if (dice < 0.15) return recorder.put(client, oneOf(catalogs), key, value);
    if (dice < 0.25) return recorder.delete(client, oneOf(catalogs), key);
    const seen = await recorder.getConsistent(client, oneOf(catalogs), key);
    if (seen !== undefined && dice < 0.9) await recorder.cas(client, oneOf(catalogs), key, seen, value);
  };
  /** Sets what may be so already: a catalog that takes its memory for the truth would leave out the write. */
  const toggles = (client: number) => async (): Promise<void> => {
    const key = keyOf('switch');
    const dice = random();
    if (dice < 0.3) await recorder.getConsistent(client, oneOf(catalogs), key);
    else if (dice < 0.5) await recorder.delete(client, oneOf(catalogs), key);
    else await recorder.put(client, oneOf(catalogs), key, dice < 0.75 ? 'on' : 'off');
  };
  /** Stays at its catalog. */
  const stays = (session: string, catalog: Addressed) => () =>
    recorder.getDefault(session, catalog, keyOf('register'), 0);
  /** Goes from one to another, and says what it has seen. */
  const roams = (session: string) => {
    const indexes = new Map<string, number>();
    return async (): Promise<void> => {
      const key = keyOf('register');
      const index = await recorder.getDefault(session, oneOf(catalogs), key, indexes.get(key) ?? 0);
      if (index !== undefined) indexes.set(key, index);
    };
  };

  const running = [
    ...[0, 1, 2, 3].map((client) => work(changes(client))),
    ...[4, 5, 6].map((client) => work(toggles(client))),
    ...catalogs.map((catalog, at) => work(stays(`stays at ${at}`, catalog), readerThinkMs)),
    ...['roams 0', 'roams 1'].map((session) => work(roams(session), readerThinkMs)),
  ];
  const ended = Promise.all(running);
  ended.catch(() => undefined); // said when the scope is left
  return {
    nextRound() {
      round += 1;
    },
    async [Symbol.asyncDispose]() {
      stopped = true;
      await ended;
    },
  };
}
