import { status } from '@grpc/grpc-js';
import { isMeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import type { TrustBundle } from '#policies/trust-bundle.ts';
import type { Handlers } from '#runtime/protobuf/service.ts';
import { isLastingRefusal } from '#runtime/svid/identity-client.ts';
import { validateJwtSvid } from '#runtime/svid/jwt-svid.ts';
import { RpcError } from './rpc-error.ts';
import { answerOnce, streamState, unimplemented } from './spiffe-calls.ts';
import type { Serving } from './state-stream.ts';
import { type Json, structOf } from './wire/google.ts';
import { jwtBundlesResponse, type workloadService } from './wire/spiffe-workload-api.ts';
import { trustDomainId } from './workload.ts';

type WorkloadHandlers = Handlers<(typeof workloadService)['methods']>;
type JwtMethods = 'FetchJWTSVID' | 'FetchJWTBundles' | 'ValidateJWTSVID' | 'FetchWITSVID' | 'FetchWITBundles';

/** Obtains a JWT-SVID of the workload. @returns the token. Rejects with MeshError as runtime/svid/identity-client.ts does */
export type FetchJwtSvid = (audience: readonly string[]) => Promise<string>;

/** A token for more readers than this can be used by each of them against the others. */
const mostAudiences = 16;

/** The JWT part of the Workload API (SPIFFE Workload API 6); WIT-SVIDs are not offered, which is to be said with UNIMPLEMENTED. */
export function jwtCalls(serving: Serving, fetchJwtSvid: FetchJwtSvid | undefined): Pick<WorkloadHandlers, JwtMethods> {
  return {
    FetchJWTSVID: answerOnce(serving, async ({ audience, spiffeId }) => {
      if (fetchJwtSvid === undefined)
        throw new RpcError(status.UNIMPLEMENTED, 'this edge proxy has no means to obtain JWT-SVIDs');
      if (audience.length === 0 || audience.includes(''))
        throw new RpcError(status.INVALID_ARGUMENT, 'audience must be specified');
      if (audience.length > mostAudiences)
        throw new RpcError(status.INVALID_ARGUMENT, `a JWT-SVID has at most ${mostAudiences} audiences`);
      const own = serving.workload.state().svid.spiffeId;
      if (spiffeId !== '' && spiffeId !== own)
        throw new RpcError(status.PERMISSION_DENIED, `this workload is ${own}, not ${quote(spiffeId)}`);
      return { svids: [{ spiffeId: own, svid: await obtained(fetchJwtSvid(audience)) }] };
    }),
    FetchJWTBundles: streamState(serving, jwtBundlesResponse, ({ bundle, federated }) => ({
      bundles: new Map([bundle, ...federated].map((one) => [trustDomainId(one.trustDomain), jwksOf(one)])),
    })),
    ValidateJWTSVID: answerOnce(serving, async ({ audience, svid }) => {
      if (audience === '') throw new RpcError(status.INVALID_ARGUMENT, 'audience must be specified');
      if (svid === '') throw new RpcError(status.INVALID_ARGUMENT, 'svid must be specified');
      try {
        const { trust, clock } = serving;
        const { spiffeId, claims } = await validateJwtSvid(svid, { audience, trust, nowMs: clock() });
        return { spiffeId, claims: structOf(claims as { readonly [name: string]: Json }) }; // they were read as JSON
      } catch (error) {
        if (!isMeshError(error, 'SLV-2195')) throw error;
        throw new RpcError(status.INVALID_ARGUMENT, error.message);
      }
    }),
    FetchWITSVID: unimplemented(serving, 'WIT-SVIDs are not offered'),
    FetchWITBundles: unimplemented(serving, 'WIT-SVIDs are not offered'),
  };
}

/** The JWKS of a bundle with its JWT keys alone, as bytes. */
function jwksOf({ jwtAuthorities }: TrustBundle): Uint8Array {
  const keys = jwtAuthorities.map(({ kid, jwk }) => ({ use: 'jwt-svid', kid, ...jwk }));
  return Buffer.from(JSON.stringify({ keys }));
}

/** A refusal by the identity service, as the workload is to see it: lasting ones are denials, the rest is to be tried again. */
async function obtained(fetching: Promise<string>): Promise<string> {
  try {
    return await fetching;
  } catch (error) {
    if (!isMeshError(error)) throw error;
    throw new RpcError(
      isLastingRefusal(error) ? status.PERMISSION_DENIED : status.UNAVAILABLE,
      `no JWT-SVID: ${error.message}`,
    );
  }
}
