import type { TrustDomain } from '#policies/spiffe-id.ts';
import { serviceIdentityOf } from '#policies/spiffe-id.ts';
import type { OperatorToken } from '#runtime/operator-token.ts';
import type { VerifiedPeer } from '#runtime/svid/verify-peer.ts';
import { urlOf } from './request-url.ts';
import type { Session, TokenSessions } from './token-sessions.ts';

/**
 * Who calls. `open` is everyone in dev mode, where nothing is guarded and everything is on loopback; `operator` holds the token of the data directory,
 * `token` one that was made by API.
 */
export type Caller =
  | { readonly kind: 'open' }
  | { readonly kind: 'operator' }
  | { readonly kind: 'token'; readonly session: Session }
  | { readonly kind: 'workload'; readonly service: string; readonly spiffeId: string; readonly notAfterMs: number }
  | { readonly kind: 'anonymous'; readonly reason: string };

/** What callers are judged by. */
export interface CallerPolicy {
  readonly open: boolean;
  readonly token: OperatorToken | undefined;
  readonly sessions: TokenSessions;
  readonly trustDomain: TrustDomain;
  readonly datacenter: string;
}

/** What Consul says of a token that it does not know, and clients look for. */
export const tokenNotFound = 'ACL not found';
/** Longest token that is looked at: an operator's own may have 512 characters. */
const maxTokenLength = 512;

/**
 * @param peer whose SVID was verified on the connection
 * @returns who it is. A token that is presented and not good makes the caller anonymous even with a good SVID: it asked to be more and is not.
 */
export function callerOf(request: Request, peer: VerifiedPeer | undefined, policy: CallerPolicy): Caller {
  if (policy.open) return { kind: 'open' };
  const presented = presentedToken(request);
  if (presented !== undefined) {
    if (presented.length > maxTokenLength) return unknownToken;
    if (policy.token?.check(presented) === true) return { kind: 'operator' };
    const session = policy.sessions.recognise(presented);
    return session === undefined ? unknownToken : { kind: 'token', session };
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

const unknownToken: Caller = {
  kind: 'anonymous',
  reason: `${tokenNotFound}: no token that is good now is presented; it may have been revoked, or be over`,
};

/** `X-Consul-Token`, `Authorization: Bearer`, `?token=`: as Consul, the query parameter first. @returns what is presented, good or not */
export function presentedToken(request: Request): string | undefined {
  const query = urlOf(request).searchParams.get('token');
  if (query) return query;
  const header = request.headers.get('x-consul-token');
  if (header) return header;
  const bearer = /^bearer (.+)$/i.exec(request.headers.get('authorization') ?? '')?.[1]?.trim();
  return bearer || undefined;
}

/** How a caller is named in logs: never by a secret. */
export function nameOf(caller: Caller): string {
  switch (caller.kind) {
    case 'open':
      return 'anyone (dev mode)';
    case 'operator':
      return 'operator';
    case 'token':
      return `token ${caller.session.accessor}`;
    case 'workload':
      return caller.spiffeId;
    case 'anonymous':
      return 'anonymous';
  }
}
