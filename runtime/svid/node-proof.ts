import { createHash } from 'node:crypto';
import { CompactSign } from 'jose';
import type { NodeProof } from '#policies/wire/identity-api.ts';
import type { Clock, RandomBytes } from '../clock.ts';
import type { KeyPair } from './node-key.ts';

/** Hex SHA-256: `hash` of a node proof, over the join token or the request body as sent. */
export function sha256Hex(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

/**
 * Proves the node's key for one request: a compact JWS (ES256) over NodeProof (policies/wire/identity-api.ts). Good for one use, within a minute.
 *
 * @param of.nodeId absent when joining
 * @param of.content the join token, or the body of the request
 */
export function signNodeProof(
  key: KeyPair,
  of: { readonly nodeId?: string | undefined; readonly content: string | Uint8Array },
  world: { readonly clock: Clock; readonly randomBytes: RandomBytes },
): Promise<string> {
  const claims: NodeProof = {
    aud: 'selvedge-identity',
    iat: Math.floor(world.clock() / 1_000),
    jti: Buffer.from(world.randomBytes(16)).toString('hex'),
    ...(of.nodeId === undefined ? {} : { sub: of.nodeId }),
    hash: sha256Hex(of.content),
  };
  return new CompactSign(Buffer.from(JSON.stringify(claims))).setProtectedHeader({ alg: 'ES256' }).sign(key.privateKey);
}
