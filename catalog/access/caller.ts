import type { TrustDomain } from '#policies/spiffe-id.ts';
import { serviceIdentityOf } from '#policies/spiffe-id.ts';
import type { OperatorToken } from '#runtime/operator-token.ts';
import type { VerifiedPeer } from '#runtime/svid/verify-peer.ts';

/** Who calls. `open` is everyone in dev mode, where nothing is guarded and everything is on loopback. */
export type Caller =
  | { readonly kind: 'open' }
  | { readonly kind: 'operator' }
  | { readonly kind: 'workload'; readonly service: string; readonly spiffeId: string; readonly notAfterMs: number }
  | { readonly kind: 'anonymous'; readonly reason: string };

/** What callers are judged by. */
export interface CallerPolicy {
  readonly open: boolean;
  readonly token: OperatorToken | undefined;
  readonly trustDomain: TrustDomain;
  readonly datacenter: string;
}

/**
 * @param peer whose SVID was verified on the connection
 * @returns who it is. A token that is presented and wrong makes the caller anonymous even with a good SVID: it asked to be an operator and is none.
 */
export function callerOf(request: Request, peer: VerifiedPeer | undefined, policy: CallerPolicy): Caller {
  if (policy.open) return { kind: 'open' };
  const presented = presentedToken(request);
  if (presented !== undefined) {
    if (policy.token?.check(presented) === true) return { kind: 'operator' };
    return { kind: 'anonymous', reason: 'token not known' };
  }
  if (peer === undefined) return { kind: 'anonymous', reason: 'neither a token nor an SVID' };
  const identity = serviceIdentityOf(peer.spiffeId);
  if (
    identity === undefined ||
    identity.trustDomain !== policy.trustDomain ||
    identity.datacenter !== policy.datacenter ||
    identity.namespace !== 'default'
  ) {
    return { kind: 'anonymous', reason: `${peer.spiffeId} is no service of this datacenter` };
  }
  return { kind: 'workload', service: identity.service, spiffeId: peer.spiffeId, notAfterMs: peer.notAfterMs };
}

/** `X-Consul-Token`, `Authorization: Bearer`, `?token=`: as Consul, the query parameter first. */
function presentedToken(request: Request): string | undefined {
  const query = new URL(request.url).searchParams.get('token');
  if (query) return query;
  const header = request.headers.get('x-consul-token');
  if (header) return header;
  const bearer = /^bearer (.+)$/i.exec(request.headers.get('authorization') ?? '')?.[1]?.trim();
  return bearer || undefined;
}

/** How a caller is named in logs. */
export function nameOf(caller: Caller): string {
  switch (caller.kind) {
    case 'open':
      return 'anyone (dev mode)';
    case 'operator':
      return 'operator';
    case 'workload':
      return caller.spiffeId;
    case 'anonymous':
      return 'anonymous';
  }
}
