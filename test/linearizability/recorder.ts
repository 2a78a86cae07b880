import { z } from 'zod';
import { waitFor } from '../wait-for.ts';
import { type DefaultRead, type History, nothing, type Operation } from './history.ts';

/** How long a client waits. Shorter than the catalog tries: what the catalog still does afterwards is part of what is tested. */
const patienceMs = 1_500;

const entriesSchema = z.tuple([z.object({ Value: z.string(), ModifyIndex: z.number() })]);

/** What a read found. */
export interface Seen {
  /** `nothing`: it is not there. */
  readonly value: string;
  /** ModifyIndex, 0: it is not there. */
  readonly modifyIndex: number;
  /** X-Consul-Index. */
  readonly index: number;
}

/** A catalog, wherever it listens now. */
export interface Addressed {
  readonly url: string;
}

/** Does operations on the KV of catalogs, over HTTP, and writes down what came of them. */
export class Recorder implements History {
  readonly operations: Operation[] = [];
  readonly defaultReads: DefaultRead[] = [];

  put(client: number, { url }: Addressed, key: string, value: string): Promise<void> {
    return this.#write({ client, kind: 'put', key, value }, 'PUT', `${url}/v1/kv/${key}`, value);
  }

  delete(client: number, { url }: Addressed, key: string): Promise<void> {
    return this.#write({ client, kind: 'delete', key, value: nothing }, 'DELETE', `${url}/v1/kv/${key}`);
  }

  /** Sets the key to a value that was never there before, if it is still as it was seen: so the value stands for the index in the history. */
  cas(client: number, { url }: Addressed, key: string, seen: Seen, value: string): Promise<void> {
    const step = { client, kind: 'cas', key, expected: seen.value, value } as const;
    return this.#write(step, 'PUT', `${url}/v1/kv/${key}?cas=${seen.modifyIndex}`, value);
  }

  /** A read that must see all that was acknowledged. @returns undefined: it was not answered, so it says nothing */
  async getConsistent(client: number, { url }: Addressed, key: string): Promise<Seen | undefined> {
    const callUs = microseconds('down');
    const seen = await read(`${url}/v1/kv/${key}?consistent`);
    const returnUs = microseconds('up');
    if (seen !== undefined)
      this.operations.push({ client, kind: 'get', key, value: seen.value, callUs, returnUs, outcome: 'done' });
    return seen;
  }

  /** A read that may lag, behind `sentIndex` at most. @returns its index; undefined: it was not answered */
  async getDefault(session: string, { url }: Addressed, key: string, sentIndex: number): Promise<number | undefined> {
    const seen = await read(`${url}/v1/kv/${key}${sentIndex === 0 ? '' : `?index=${sentIndex}&wait=50ms`}`);
    if (seen === undefined) return undefined;
    this.defaultReads.push({ session, key, sentIndex, index: seen.index, modifyIndex: seen.modifyIndex });
    return seen.index;
  }

  /** Waits until so many more operations came out one way. */
  async more(what: string, count: number, ...outcomes: readonly Operation['outcome'][]): Promise<void> {
    const from = this.operations.length;
    await waitFor(
      `${count} operations ${what}`,
      () => this.operations.slice(from).filter(({ outcome }) => outcomes.includes(outcome)).length >= count,
      60_000,
    );
  }

  async #write(
    step: Pick<Operation, 'client' | 'kind' | 'key' | 'expected' | 'value'>,
    method: 'PUT' | 'DELETE',
    url: string,
    body?: string,
  ): Promise<void> {
    const callUs = microseconds('down');
    const outcome = await write(url, method, body);
    if (outcome !== 'not sent') this.operations.push({ ...step, callUs, returnUs: microseconds('up'), outcome });
  }
}

async function write(
  url: string,
  method: 'PUT' | 'DELETE',
  body: string | undefined,
): Promise<Operation['outcome'] | 'not sent'> {
  try {
    const signal = AbortSignal.timeout(patienceMs);
    const answer = await fetch(url, { method, signal, ...(body === undefined ? {} : { body }) });
    const said = await answer.text();
    if (answer.status >= 400 && answer.status < 500) throw new TypeError(`the test asks wrongly: ${said}`);
    // 5xx: whatever it says of itself, it may have been done.
    return answer.status !== 200 ? 'unknown' : said.trim() === 'true' ? 'done' : 'refused';
  } catch (error) {
    if (error instanceof TypeError && error.message.startsWith('the test')) throw error;
    return wasRefused(error) ? 'not sent' : 'unknown';
  }
}

async function read(url: string): Promise<Seen | undefined> {
  let answer: Response;
  let text: string;
  try {
    answer = await fetch(url, { signal: AbortSignal.timeout(patienceMs) });
    text = await answer.text();
  } catch {
    return undefined; // the catalog is away
  }
  const index = Number(answer.headers.get('x-consul-index'));
  if (answer.status === 404) return { value: nothing, modifyIndex: 0, index };
  if (answer.status !== 200) return undefined;
  const [{ Value, ModifyIndex }] = entriesSchema.parse(JSON.parse(text));
  return { value: Buffer.from(Value, 'base64').toString(), modifyIndex: ModifyIndex, index };
}

/** Nobody listens, so nothing was sent. */
function wasRefused(error: unknown): boolean {
  const { cause } = error instanceof Error ? error : {};
  return cause instanceof Error && 'code' in cause && cause.code === 'ECONNREFUSED';
}

function microseconds(rounded: 'down' | 'up'): number {
  const us = performance.now() * 1_000;
  return rounded === 'down' ? Math.floor(us) : Math.ceil(us);
}
