import { checkStatuses } from '#policies/consul/check-status.ts';
import type { CatalogClient } from './catalog-client.ts';
import { type Alias, type AliasedCheck, aliasResult } from './checks/alias.ts';
import type { ProbeResult } from './checks/probe.ts';
import { identityOf, type LocalService } from './service-definition.ts';

/** How a service of another node is, or that node, by what the catalog holds. Rejects when the catalog can't be asked. */
export async function remoteAliasResult(
  catalog: CatalogClient,
  alias: Alias,
  onBehalfOf: LocalService | undefined,
): Promise<ProbeResult> {
  const held = await catalog.nodeState(alias.node, onBehalfOf && identityOf(onBehalfOf)).catch((cause: unknown) => {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`Failure checking aliased node or service: ${reason}`, { cause });
  });
  const exists =
    alias.serviceId === '' ? held.services.size + held.checks.size > 0 : held.services.has(alias.serviceId);
  return aliasResult(alias, [...held.checks.values()].map(aliasedCheck), exists);
}

function aliasedCheck(held: Readonly<Record<string, unknown>>): AliasedCheck {
  const text = (key: string) => (typeof held[key] === 'string' ? held[key] : '');
  return {
    name: text('Name'),
    serviceId: text('ServiceID'),
    // What is no status that we know is not passing.
    status: checkStatuses.find((known) => known === held['Status']) ?? 'critical',
    output: text('Output'),
  };
}
