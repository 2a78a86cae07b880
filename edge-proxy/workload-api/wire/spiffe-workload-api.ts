import type { ProtoFile } from '#runtime/protobuf/descriptor.ts';
import { bytes, many, manyOf, mapOf, message, one, string } from '#runtime/protobuf/message.ts';
import { method, type Service } from '#runtime/protobuf/service.ts';
import { struct, structFile } from './google.ts';

/** The SPIFFE Workload API on the wire. Source: github.com/spiffe/spiffe, standards/workloadapi.proto, which has no package and MUST NOT be extended. */

export const x509Svid = message('X509SVID', {
  spiffeId: string(1),
  /** DER, concatenated, the leaf first. */
  x509Svid: bytes(2),
  /** PKCS#8 DER. */
  x509SvidKey: bytes(3),
  /** DER, concatenated: the roots of the SVID's own trust domain. */
  bundle: bytes(4),
  hint: string(5),
});
export const x509SvidRequest = message('X509SVIDRequest', {});
export const x509SvidResponse = message('X509SVIDResponse', {
  svids: many(1, () => x509Svid),
  crl: manyOf(2, 'bytes'),
  federatedBundles: mapOf(3, 'bytes'),
});
export const x509BundlesRequest = message('X509BundlesRequest', {});
export const x509BundlesResponse = message('X509BundlesResponse', {
  crl: manyOf(1, 'bytes'),
  bundles: mapOf(2, 'bytes'),
});
export const jwtSvid = message('JWTSVID', { spiffeId: string(1), svid: string(2), hint: string(3) });
export const jwtSvidRequest = message('JWTSVIDRequest', { audience: manyOf(1, 'string'), spiffeId: string(2) });
export const jwtSvidResponse = message('JWTSVIDResponse', { svids: many(1, () => jwtSvid) });
export const jwtBundlesRequest = message('JWTBundlesRequest', {});
export const jwtBundlesResponse = message('JWTBundlesResponse', { bundles: mapOf(1, 'bytes') });
export const validateJwtSvidRequest = message('ValidateJWTSVIDRequest', { audience: string(1), svid: string(2) });
export const validateJwtSvidResponse = message('ValidateJWTSVIDResponse', {
  spiffeId: string(1),
  claims: one(2, () => struct),
});
export const witSvidRequest = message('WITSVIDRequest', { spiffeId: string(1) });
export const witSvid = message('WITSVID', {
  spiffeId: string(1),
  witSvid: string(2),
  witSvidKey: string(3),
  hint: string(4),
});
export const witSvidResponse = message('WITSVIDResponse', { svids: many(1, () => witSvid) });
export const witBundlesRequest = message('WITBundlesRequest', {});
export const witBundlesResponse = message('WITBundlesResponse', { bundles: mapOf(1, 'string') });

export const workloadService = {
  fullName: 'SpiffeWorkloadAPI',
  methods: {
    FetchX509SVID: method('answers-stream', x509SvidRequest, x509SvidResponse),
    FetchX509Bundles: method('answers-stream', x509BundlesRequest, x509BundlesResponse),
    FetchJWTSVID: method('unary', jwtSvidRequest, jwtSvidResponse),
    FetchJWTBundles: method('answers-stream', jwtBundlesRequest, jwtBundlesResponse),
    ValidateJWTSVID: method('unary', validateJwtSvidRequest, validateJwtSvidResponse),
    FetchWITSVID: method('answers-stream', witSvidRequest, witSvidResponse),
    FetchWITBundles: method('answers-stream', witBundlesRequest, witBundlesResponse),
  },
} satisfies Service;

export const workloadFile: ProtoFile = {
  name: 'workload.proto',
  package: '',
  imports: [structFile],
  messages: [
    ...[x509Svid, x509SvidRequest, x509SvidResponse, x509BundlesRequest, x509BundlesResponse],
    ...[jwtSvid, jwtSvidRequest, jwtSvidResponse, jwtBundlesRequest, jwtBundlesResponse],
    ...[validateJwtSvidRequest, validateJwtSvidResponse],
    ...[witSvid, witSvidRequest, witSvidResponse, witBundlesRequest, witBundlesResponse],
  ],
  services: [workloadService],
};
