import type { ServedDns } from '#runtime/dns/dns-server.ts';
import type { AnswerListener } from '#runtime/dns/responder.ts';
import { type DnsConfig, serveZone } from '#runtime/dns/serve-zone.ts';
import type { CatalogParts } from '../parts.ts';
import { CatalogDnsView } from './catalog-view.ts';

/** Serves DNS from a catalog's state. @throws MeshError SLV-1002 when it is its own recursor, SLV-1004 when the address can't be had */
export async function serveCatalogDns(
  config: DnsConfig,
  { state, follower, context, datacenter }: CatalogParts,
  onAnswer: AnswerListener,
): Promise<ServedDns> {
  const view = new CatalogDnsView(state, () => follower.current);
  const served = await serveZone(config, { view, datacenter, context, onAnswer });
  return {
    address: served.address,
    async close() {
      view.close();
      await served.close();
    },
  };
}
