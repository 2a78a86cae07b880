import type { CheckStatus } from '#policies/consul/check-status.ts';
import type { ProbeResult } from './probe.ts';

/** What an alias stands for: a service of a node, or with serviceId '' the node itself. */
export interface Alias {
  readonly node: string;
  readonly serviceId: string;
}

/** What an alias looks at of another check. */
export interface AliasedCheck {
  readonly name: string;
  /** '' is of the node, and counts for its services. */
  readonly serviceId: string;
  readonly status: CheckStatus;
  readonly output: string;
}

/**
 * As bad as the worst of the checks; without any it passes, as long as what it stands for is there (Consul, but for a node without checks, which passes).
 * @param exists whether the service, or the node, is known
 */
export function aliasResult({ node, serviceId }: Alias, checks: Iterable<AliasedCheck>, exists: boolean): ProbeResult {
  if (!exists) {
    const what =
      serviceId === '' ? `Node ${node} could not be found` : `Service ${serviceId} could not be found on node ${node}`;
    return { status: 'critical', output: what };
  }
  const counting = [...checks].filter((check) => check.serviceId === '' || check.serviceId === serviceId);
  const worst =
    counting.find(({ status }) => status === 'critical') ?? counting.findLast(({ status }) => status === 'warning');
  if (worst !== undefined)
    return { status: worst.status, output: `Aliased check ${JSON.stringify(worst.name)} failing: ${worst.output}` };
  return { status: 'passing', output: counting.length === 0 ? 'No checks found.' : 'All checks passing.' };
}
