import { MeshError } from '#policies/errors/mesh-error.ts';
import { requireGrantable } from '../grant.ts';
import type { Mapping } from './attestation-config.ts';
import { fillTemplate } from './claim-template.ts';
import { type Claims, claimAt } from './claims.ts';

/** What a node may be called and may be. */
export interface MappedGrant {
  readonly name: string;
  readonly services: readonly string[];
}

/**
 * The grant by the first mapping that fits. If its templates can't be filled in that is a refusal: the next one is not tried, or a claim with an odd
 * character would be a way to a mapping that was meant for others.
 * @throws MeshError SLV-2106 when none fits or can be filled in, SLV-2120 for a name that nobody is granted
 */
export function mapClaims(mappings: readonly Mapping[], claims: Claims): MappedGrant {
  const fitting = mappings.find(({ match }) => match.every(({ claim, oneOf }) => holds(claimAt(claims, claim), oneOf)));
  if (fitting === undefined) {
    throw new MeshError('SLV-2106', 'The node is attested, but no mapping is for one like it.');
  }
  const services = [...new Set(fitting.services.map((template) => fillTemplate(template, 'grant', claims)))];
  requireGrantable(services);
  return { name: fillTemplate(fitting.node, 'name', claims), services };
}

function holds(claim: unknown, oneOf: readonly string[]): boolean {
  const values = Array.isArray(claim) ? (claim as readonly unknown[]) : [claim];
  return values.some(
    (value) => ['string', 'number', 'boolean'].includes(typeof value) && oneOf.includes(String(value)),
  );
}
