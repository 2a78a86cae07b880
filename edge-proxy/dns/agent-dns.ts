import { MeshError } from '#policies/errors/mesh-error.ts';
import { dnsFactsSchema } from '#policies/wire/dns-facts.ts';
import { DnsMetrics } from '#runtime/dns/dns-metrics.ts';
import type { ServedDns } from '#runtime/dns/dns-server.ts';
import { type DnsConfig, serveZone } from '#runtime/dns/serve-zone.ts';
import { meshRequest } from '#runtime/mesh-http.ts';
import type { Metrics } from '#runtime/metrics.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { Svid } from '#runtime/svid/svid.ts';
import type { TrustSource } from '#runtime/svid/trust.ts';
import { isCatalogOf } from '../catalog-identity.ts';
import { AgentDnsView } from './agent-view.ts';
import { type AskFacts, FollowedFacts } from './followed-facts.ts';

/** What the DNS of an agent needs of its proxy. */
export interface AgentDnsWorld {
  readonly catalogUrl: string;
  /** Undefined: a plain catalog (`dev`). */
  readonly trust: TrustSource | undefined;
  /** As whom the catalog is asked. */
  svid(): Svid | undefined;
  readonly datacenter: string;
  readonly metrics: Metrics;
  readonly context: ProcessContext;
}

/** Serves DNS for this host. @throws MeshError SLV-1002 when it is its own recursor, SLV-1004 when the address can't be had */
export async function serveAgentDns(config: DnsConfig, world: AgentDnsWorld): Promise<ServedDns> {
  const { context, datacenter } = world;
  const facts = new FollowedFacts(askCatalog(world), context);
  const view = new AgentDnsView(facts);
  const { answered } = new DnsMetrics(world.metrics, {
    queries: 'selvedge_agent_dns_queries_total',
    seconds: 'selvedge_agent_dns_seconds',
  });
  try {
    const served = await serveZone(config, { view, datacenter, context, onAnswer: answered });
    return {
      address: served.address,
      async close() {
        await served.close();
        await facts.close();
      },
    };
  } catch (error) {
    await facts.close();
    throw error;
  }
}

function askCatalog({ catalogUrl, trust, svid, context }: AgentDnsWorld): AskFacts {
  const expect = isCatalogOf(trust?.own);
  return async (question, timeoutMs, signal) => {
    const own = svid();
    const { status, body } = await meshRequest({
      url: `${catalogUrl}/v1/mesh/feed/dns`,
      method: 'POST',
      repeatable: true,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(question),
      expect,
      clock: context.clock,
      timeoutMs,
      signal,
      ...(own === undefined ? {} : { svid: own }),
      ...(trust === undefined ? {} : { trust }),
    });
    const text = body.toString();
    if (status !== 200) throw new MeshError('SLV-1006', `The catalog answered ${status} to DNS: ${text.slice(0, 256)}`);
    return dnsFactsSchema.parse(JSON.parse(text));
  };
}
