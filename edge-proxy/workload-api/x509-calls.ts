import { createPrivateKey } from 'node:crypto';
import type { TrustBundle } from '#policies/trust-bundle.ts';
import type { Handlers } from '#runtime/protobuf/service.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import { streamState } from './spiffe-calls.ts';
import type { Serving } from './state-stream.ts';
import { type workloadService, x509BundlesResponse, x509SvidResponse } from './wire/spiffe-workload-api.ts';
import { trustDomainId } from './workload.ts';

type WorkloadHandlers = Handlers<(typeof workloadService)['methods']>;

/** The X.509 part of the Workload API (SPIFFE Workload API 5). */
export function x509Calls(serving: Serving): Pick<WorkloadHandlers, 'FetchX509SVID' | 'FetchX509Bundles'> {
  return {
    FetchX509SVID: streamState(serving, x509SvidResponse, ({ svid, bundle, federated }) => ({
      svids: [
        {
          spiffeId: svid.spiffeId,
          x509Svid: Buffer.concat(certificatesOfPem(svid.chainPem)),
          x509SvidKey: createPrivateKey(svid.keyPem).export({ type: 'pkcs8', format: 'der' }),
          bundle: Buffer.concat(bundle.x509Authorities),
        },
      ],
      federatedBundles: byTrustDomain(federated),
    })),
    FetchX509Bundles: streamState(serving, x509BundlesResponse, ({ bundle, federated }) => ({
      bundles: byTrustDomain([bundle, ...federated]),
    })),
  };
}

function byTrustDomain(bundles: readonly TrustBundle[]): Map<string, Uint8Array> {
  return new Map(
    bundles.map(({ trustDomain, x509Authorities }) => [trustDomainId(trustDomain), Buffer.concat(x509Authorities)]),
  );
}
