import { type KeyObject, sign, verify } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { promisify } from 'node:util';

/*
 * Signatures computed in Node's pool of threads while the event loop goes on: some 5 µs of it for a signature of P-256, where it would stand still for 25 to 65. Who is
 * alone gains nothing by that and waits for two threads to wake up, so they are computed at once as long as there is one order only.
 */

let orders = 0;
/** With two cores the threads take turns with whoever asks: an identity service at its limit was measured to issue a tenth less, for a fifth more CPU. */
let threads = availableParallelism() > 2;

/** Whether threads are used where there are several orders. Default: with more than two cores. */
export function useThreads(use: boolean): void {
  threads = use;
}

const verifyInThread = promisify(verify);
const signInThread = promisify(sign);

/** Takes part in deciding that: from now until `work` has ended there is one order more. */
export async function sideBySide<T>(work: () => Promise<T>): Promise<T> {
  orders += 1;
  try {
    return await work();
  } finally {
    orders -= 1;
  }
}

/**
 * As `verify` of node:crypto.
 * @param data must not change until then; so `signature`
 * @throws what OpenSSL says of a signature that it can't even read
 */
export async function verifySideBySide(
  digest: string | null,
  data: Uint8Array,
  key: KeyObject,
  signature: Uint8Array,
): Promise<boolean> {
  return threads && orders > 1 ? verifyInThread(digest, data, key, signature) : verify(digest, data, key, signature);
}

/** As `sign` of node:crypto. */
export async function signSideBySide(digest: string | null, data: Uint8Array, key: KeyObject): Promise<Uint8Array> {
  return threads && orders > 1 ? signInThread(digest, data, key) : sign(digest, data, key);
}
