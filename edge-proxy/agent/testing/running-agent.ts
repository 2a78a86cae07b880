import { serveHttp } from '#runtime/http-service.ts';
import { createLogger } from '#runtime/logging.ts';
import { type ProcessContext, systemContext } from '#runtime/process-context.ts';
import { type Agent, createAgent } from '../agent.ts';
import type { AgentOptions } from '../agent-options.ts';
import { createCatalogClient } from '../catalog-client.ts';
import { ManualTime } from './manual-time.ts';
import { SmallCatalog } from './small-catalog.ts';

/** An agent over real HTTP, with a small catalog and time in the test's hands. */
export interface RunningAgent {
  readonly agent: Agent;
  readonly catalog: SmallCatalog;
  readonly time: ManualTime;
  readonly url: string;
  /** Sends a request. A body that is no string is sent as JSON. */
  send(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
}

export interface Answer {
  readonly status: number;
  readonly text: string;
  readonly headers: Headers;
  /** The body as JSON; undefined when it is none. */
  readonly json: ReturnType<typeof JSON.parse>;
}

/** Starts both; they end with the test. */
export async function startAgent(
  t: { after(end: () => Promise<void>): void },
  overrides: Partial<AgentOptions> = {},
): Promise<RunningAgent> {
  const time = new ManualTime();
  const log = createLogger({ process: 'test', level: 'silent' });
  const context: ProcessContext = { ...systemContext(log), clock: () => time.nowMs, random: () => 0 };
  const catalog = await SmallCatalog.start(context);
  const stop = new AbortController();
  const agent = createAgent({
    nodeName: 'vm-1',
    nodeAddress: '10.0.0.1',
    datacenter: 'dc1',
    catalog: createCatalogClient({
      url: catalog.url,
      trust: undefined,
      svidFor: () => undefined,
      clock: context.clock,
    }),
    authorize: () => ({ allowed: false, rule: 'none', reason: 'nothing is allowed here' }),
    access: { kind: 'open' },
    context,
    signal: stop.signal,
    timers: time,
    ...overrides,
  });
  const served = await serveHttp({ app: await agent.app(), host: '127.0.0.1', port: 0, log, clock: context.clock });
  t.after(async () => {
    stop.abort();
    await served.close(0);
    await agent.close();
    await catalog.close();
  });
  const send = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => {
    const sent = body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) };
    const response = await fetch(served.url + path, { method, headers, ...sent });
    const text = await response.text();
    return { status: response.status, text, headers: response.headers, json: parsed(text) };
  };
  return { agent, catalog, time, url: served.url, send };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Plain text, as Consul's errors are.
  }
}
