import type { TLSSocket } from 'node:tls';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { spkiPin } from './first-contact.ts';
import { certificatesOfPem } from './pem.ts';
import type { Svid } from './svid.ts';
import type { TrustSource } from './trust.ts';
import { sentChain, verifyChain } from './verify-peer.ts';

/**
 * Taint: the identity service asks that what hangs on an authority be renewed at once, long before its time, because the authority is to leave the trust
 * bundle. Until it does, all is still accepted.
 */

/** Whether an SVID of ours is to be renewed at once: an authority above it is tainted, its root is gone, or it was revoked and its holder was not. */
export function isToBeRenewed(svid: Svid, trust: TrustSource, nowMs: number): boolean {
  const chain = certificatesOfPem(svid.chainPem);
  return trust.isRevoked(svid.serialHex, svid.spiffeId) || isTainted(chain, trust) || isOrphaned(chain, trust, nowMs);
}

/** Whether no root leads to it any more: we were away when it was to be renewed, and peers refuse it although its time is not over. */
function isOrphaned(chain: readonly Uint8Array[], trust: TrustSource, nowMs: number): boolean {
  try {
    verifyChain({ chain, trust, nowMs });
    return false;
  } catch (error) {
    return isMeshError(error, 'SLV-2020') && ['untrusted-root', 'bad-signature'].includes(String(error.detail['rule']));
  }
}

/** Whether the peer of a finished handshake will soon show another SVID, so that a connection with it should be replaced. */
export function isPeerTainted(socket: TLSSocket, trust: TrustSource): boolean {
  return isTainted(sentChain(socket), trust);
}

/** Whether one of these authorities signed something in the chain of an SVID of ours. */
export function hangsOn(svid: Svid, authorities: ReadonlySet<string>): boolean {
  return isBelow(certificatesOfPem(svid.chainPem), authorities);
}

function isTainted(chain: readonly Uint8Array[], { tainted }: TrustSource): boolean {
  return tainted !== undefined && isBelow(chain, tainted);
}

/** The root is not in the chain; the issuing CA is, and every one under a root that goes is named with it. */
function isBelow([, ...signers]: readonly Uint8Array[], authorities: ReadonlySet<string>): boolean {
  return authorities.size > 0 && signers.some((der) => authorities.has(spkiPin(der)));
}
