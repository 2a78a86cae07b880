import { pino } from 'pino';
import { parseSpiffeId } from '#policies/spiffe-id.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { systemContext } from '#runtime/process-context.ts';
import type { VerifiedPeer } from '#runtime/svid/verify-peer.ts';
import type { Store } from '#store/contract.ts';
import { openSqliteStore } from '#store/sqlite/sqlite-store.ts';
import { type CatalogConfig, type RunningCatalog, startCatalog } from '../main.ts';

/** A context whose log is silent. */
export function quietContext(): ProcessContext {
  return systemContext(pino({ level: 'silent' }));
}

/**
 * A catalog, open as in dev unless told otherwise; it ends with the test.
 *
 * @param openStore SQLite in memory if not given
 */
export async function startTestCatalog(
  t: { after(end: () => Promise<void>): void },
  config: Partial<CatalogConfig> = {},
  openStore: (context: ProcessContext) => Promise<Store> = ({ clock, log }) =>
    openSqliteStore({ path: undefined, clock, log }),
  context: ProcessContext = quietContext(),
): Promise<RunningCatalog> {
  const store = await openStore(context);
  let catalog: RunningCatalog | undefined;
  t.after(async () => {
    await catalog?.close(0);
    await store.close();
  });
  catalog = await startCatalog(
    {
      host: '127.0.0.1',
      port: 0,
      datacenter: 'dc1',
      nodeName: 'catalog-1',
      defaultIntentionPolicy: 'deny',
      trustDomain: 'mesh.test',
      open: true,
      dataDir: undefined,
      ...config,
    },
    context,
    store,
  );
  return catalog;
}

/** The connection of a workload, as the TLS listener hands it over. */
export function workload(service: string, overrides: Partial<VerifiedPeer> = {}): { peer: VerifiedPeer } {
  return {
    peer: {
      spiffeId: parseSpiffeId(`spiffe://mesh.test/ns/default/dc/dc1/svc/${service}`),
      notAfterMs: Date.now() + 3_600_000,
      serialHex: '01',
      ...overrides,
    },
  };
}

/** Sends a request to the app itself, as whoever `env` says. */
export async function send(
  catalog: RunningCatalog,
  method: string,
  path: string,
  options: { body?: unknown; env?: object; headers?: Record<string, string> } = {},
): Promise<{ status: number; headers: Headers; text: string; json: unknown }> {
  const body =
    options.body === undefined || typeof options.body === 'string' ? options.body : JSON.stringify(options.body);
  const response = await catalog.app.request(
    `http://127.0.0.1${path}`,
    {
      method,
      ...(body === undefined ? {} : { body }),
      headers: { 'content-type': 'application/json', ...options.headers },
    },
    options.env ?? {},
  );
  const text = await response.text();
  return { status: response.status, headers: response.headers, text, json: parseOrUndefined(text) };
}

function parseOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // Consul's errors are text
  }
}
