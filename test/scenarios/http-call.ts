import { Agent, request } from 'node:http';
import { after } from 'node:test';

/** A plain HTTP call of an application. */
export interface Call {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Keeps connections for the next call; absent: one connection a call. */
  readonly agent?: Agent;
  /** Of a call that is to last. */
  readonly patienceMs?: number;
}

/** What came back. */
export interface CallResult {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly ms: number;
}

/** An agent that keeps its connections; it ends with the file's tests. */
export function keepingAgent(): Agent {
  const agent = new Agent({ keepAlive: true });
  after(() => agent.destroy());
  return agent;
}

/** No call of a test waits longer than this, unless told to. */
const usualPatienceMs = 20_000;

/** Makes a call. Rejects when no whole answer comes. @param address `host:port` */
export function httpCall(address: string, call: Call = {}): Promise<CallResult> {
  const { method = 'GET', path = '/', headers = {}, body, agent = false, patienceMs = usualPatienceMs } = call;
  const startedMs = performance.now();
  const { promise, resolve, reject } = Promise.withResolvers<CallResult>();
  // Without a length Node sends the body of a DELETE as it is, behind the request.
  const framed = body === undefined ? headers : { 'content-length': String(Buffer.byteLength(body)), ...headers };
  const outgoing = request(
    `http://${address}${path}`,
    { method, headers: framed, agent, signal: AbortSignal.timeout(patienceMs) },
    (incoming) => {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.once('error', reject);
      incoming.once('end', () =>
        resolve({
          status: incoming.statusCode ?? 0,
          headers: incoming.headers,
          text: Buffer.concat(chunks).toString('utf8'),
          ms: performance.now() - startedMs,
        }),
      );
    },
  );
  outgoing.once('error', reject);
  outgoing.end(body);
  return promise;
}

/** What went wrong with a call that should have been answered 200, for `startLoad`. */
export async function unlessOk(call: Promise<CallResult>): Promise<string | undefined> {
  const { status, text } = await call;
  return status === 200 ? undefined : `${status} ${text.slice(0, 200)}`;
}
