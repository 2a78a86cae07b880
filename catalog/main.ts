import { join } from 'node:path';
import type { Hono } from 'hono';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { parseServiceName } from '#policies/service-name.ts';
import { parseTrustDomain } from '#policies/spiffe-id.ts';
import { openAuditLog } from '#runtime/audit/audit-log.ts';
import { ConsulCa } from '#runtime/consul-ca.ts';
import type { ServedDns } from '#runtime/dns/dns-server.ts';
import type { DnsConfig } from '#runtime/dns/serve-zone.ts';
import { serveHttp } from '#runtime/http-service.ts';
import { loadOrCreateOperatorToken } from '#runtime/operator-token.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { formatSocketAddress, isLoopback, type SocketAddress } from '#runtime/socket-address.ts';
import type { SvidSource } from '#runtime/svid/svid.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import type { Store } from '#store/contract.ts';
import { TokenSessions } from './access/token-sessions.ts';
import { CatalogAudit } from './audit/catalog-audit.ts';
import type { CatalogEvent } from './audit/catalog-events.ts';
import { type AgentApp, catalogApp } from './catalog-app.ts';
import { CatalogMetrics } from './catalog-metrics.ts';
import { type Authorization, authorize } from './consul/agent-routes.ts';
import { AnswerCache } from './consul/answer-cache.ts';
import type { CatalogEnv } from './consul/route-table.ts';
import { serveCatalogDns } from './dns/catalog-dns.ts';
import { FeedHub, type SignedBundle } from './feed/feed-hub.ts';
import { Decisions } from './intentions/decisions.ts';
import { ExpirySweep } from './intentions/expiry-sweep.ts';
import { KeyFetcher } from './jwt/key-fetcher.ts';
import type { CatalogParts } from './parts.ts';
import { CatalogState } from './state/catalog-state.ts';
import { CatalogWriter } from './state/catalog-writer.ts';
import { StoreFollower } from './state/store-follower.ts';

/** How a catalog is set up. */
export interface CatalogConfig {
  /** IP literal to listen on. */
  readonly host: string;
  /** 0: any free one. */
  readonly port: number;
  readonly datacenter: string;
  readonly nodeName: string;
  /** What decides where no intention does. */
  readonly defaultIntentionPolicy: 'allow' | 'deny';
  readonly trustDomain: string;
  /** Dev mode: plain HTTP, no tokens, loopback only. */
  readonly open: boolean;
  /** Where operator.token and audit.jsonl lie; undefined: the token lives in memory, and what is audited goes to the process log. */
  readonly dataDir: string | undefined;
  /** Wait for the disk before a change is answered. Off: the operating system writes the audit log when it does. */
  readonly auditSync?: boolean;
  /** Serves https with this SVID and knows workloads by theirs. Outside of dev without it: plain HTTP, operators only. */
  readonly tls?: { readonly svid: SvidSource; readonly trust: TrustSource };
  /** Mounted for /v1/agent/*. POST /v1/agent/connect/authorize is the catalog's own all the same. */
  readonly agentApp?: AgentApp;
  /** The trust bundle as identity signed it, carried to the proxies. */
  readonly signedBundle?: SignedBundle;
  /** Undefined: no DNS. */
  readonly dns?: DnsConfig;
  /** Longest silence on a feed. Default 10 s. */
  readonly feedKeepAliveMs?: number;
}

/** A catalog that serves. */
export interface RunningCatalog {
  readonly url: string;
  readonly port: number;
  readonly operatorTokenPath?: string;
  /** The operator token, for what runs in the same process; undefined in dev mode. */
  readonly operatorToken?: string;
  readonly app: Hono<CatalogEnv>;
  /** Where DNS is served, on UDP and TCP. */
  readonly dnsAddress?: SocketAddress;
  /** Consul's authorize by the one evaluator. Throws ConsulError 400. */
  authorize(target: string, clientUri: string): Authorization;
  /** Answers whoever waits, ends the feeds, gives requests in flight `graceMs` (default 5 s). The store stays the caller's. */
  close(graceMs?: number): Promise<void>;
}

const defaultKeepAliveMs = 10_000;

/**
 * Starts the catalog on a store: reads its state, then listens.
 * @throws MeshError SLV-1002 for dev mode off loopback, SLV-1004, SLV-2150 and SLV-2151 (audit log), SLV-5001, SLV-5002, SLV-35nn
 */
export async function startCatalog(
  config: CatalogConfig,
  context: ProcessContext,
  store: Store,
): Promise<RunningCatalog> {
  if (config.open && !isLoopback(config.host)) {
    throw new MeshError(
      'SLV-1002',
      `Dev mode is open to everyone, so it listens on loopback only, not on ${config.host}.`,
    );
  }
  const trustDomain = parseTrustDomain(config.trustDomain);
  const datacenter = parseServiceName(config.datacenter);
  const token = config.open ? undefined : loadOrCreateOperatorToken(config.dataDir);
  const stopping = new AbortController();
  const state = new CatalogState();
  const auditPath = config.dataDir === undefined ? undefined : join(config.dataDir, 'audit.jsonl');
  const auditLog = await openAuditLog<CatalogEvent>(auditPath, context, { sync: config.auditSync ?? false });
  const audit = new CatalogAudit(auditLog, state, context.clock);
  const follower = new StoreFollower(store, state, context);
  const sessions = new TokenSessions(state, context.clock);
  const parts: CatalogParts = {
    datacenter,
    nodeName: config.nodeName,
    trustDomain,
    defaultAction: config.defaultIntentionPolicy,
    callers: { open: config.open, token, sessions, trustDomain, datacenter },
    store,
    state,
    writer: new CatalogWriter(store, follower, audit),
    audit,
    follower,
    answers: new AnswerCache(),
    context,
    stopping: stopping.signal,
  };
  try {
    await follower.start();
  } catch (error) {
    sessions.close();
    await audit.close();
    throw error;
  }
  const decisions = new Decisions(parts);
  const sweep = new ExpirySweep(parts);
  const keyFetcher = new KeyFetcher(parts);
  const hub = new FeedHub(parts, {
    bundle: config.signedBundle,
    keepAliveMs: config.feedKeepAliveMs ?? defaultKeepAliveMs,
  });
  const address = { host: config.host, port: config.port };
  const metrics = new CatalogMetrics(parts, hub, keyFetcher);
  const app = catalogApp({
    parts,
    hub,
    metrics,
    decisions,
    keyFetcher,
    agentApp: config.agentApp,
    ca: config.signedBundle === undefined ? undefined : new ConsulCa(config.signedBundle),
    address: () => formatSocketAddress(address),
  });
  let dns: ServedDns | undefined;
  try {
    dns = config.dns && (await serveCatalogDns(config.dns, parts, metrics.dns.answered));
    const served = await serveHttp({
      app,
      host: config.host,
      port: config.port,
      ...(config.tls === undefined ? {} : { tls: config.tls }),
      log: context.log,
      clock: context.clock,
    });
    address.port = served.port;
    context.log.info(
      {
        url: served.url,
        datacenter,
        trustDomain,
        revision: state.revision,
        defaultIntention: config.defaultIntentionPolicy,
      },
      'catalog serves',
    );
    return {
      url: served.url,
      port: served.port,
      ...(token?.path === undefined ? {} : { operatorTokenPath: token.path }),
      ...(token === undefined ? {} : { operatorToken: token.token }),
      app,
      ...(dns === undefined ? {} : { dnsAddress: dns.address }),
      authorize: (target, clientUri) => authorize(decisions, target, clientUri),
      async close(graceMs) {
        stopping.abort();
        hub.close();
        await dns?.close();
        await served.close(graceMs);
        await sweep.close();
        await keyFetcher.close();
        sessions.close();
        await follower.close();
        await audit.close();
      },
    };
  } catch (error) {
    stopping.abort();
    hub.close();
    await sweep.close();
    await keyFetcher.close();
    await dns?.close();
    sessions.close();
    await follower.close();
    await audit.close();
    throw error;
  }
}
