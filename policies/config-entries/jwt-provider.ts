import { z } from 'zod';
import {
  count,
  durationNs,
  entryFields,
  entryObject,
  flag,
  invalidEntry,
  judgeEntryMeta,
  listOf,
  oneOf,
  text,
} from './entry-object.ts';

const trustedCaSchema = entryObject({
  Filename: text,
  EnvironmentVariable: text,
  InlineString: z.string().max(65_536).exactOptional(),
  InlineBytes: z.base64().max(65_536).exactOptional(),
});

const remoteSchema = entryObject({
  URI: text,
  RequestTimeoutMs: count,
  CacheDuration: durationNs,
  FetchAsynchronously: flag,
  RetryPolicy: entryObject({
    NumRetries: count,
    RetryPolicyBackOff: entryObject({ BaseInterval: durationNs, MaxInterval: durationNs }).exactOptional(),
  }).exactOptional(),
  JWKSCluster: entryObject({
    DiscoveryType: oneOf(['STRICT_DNS', 'STATIC', 'LOGICAL_DNS', 'EDS', 'ORIGINAL_DST']),
    TLSCertificates: entryObject({
      CaCertificateProviderInstance: entryObject({ InstanceName: text, CertificateName: text }).exactOptional(),
      TrustedCA: trustedCaSchema.exactOptional(),
    }).exactOptional(),
    ConnectTimeout: durationNs,
  }).exactOptional(),
});
type Remote = z.output<typeof remoteSchema>;

const locationSchema = entryObject({
  Header: entryObject({ Name: text, ValuePrefix: text, Forward: flag }).exactOptional(),
  QueryParam: entryObject({ Name: text }).exactOptional(),
  Cookie: entryObject({ Name: text }).exactOptional(),
});

/** Whose JSON Web Tokens may be asked for in intentions. */
export const jwtProviderSchema = entryObject({
  ...entryFields('jwt-provider'),
  Name: z.string().max(256).default(''),
  JSONWebKeySet: entryObject({
    Local: entryObject({ JWKS: z.string().max(65_536).exactOptional(), Filename: text }).exactOptional(),
    Remote: remoteSchema.exactOptional(),
  }).exactOptional(),
  Issuer: text,
  Audiences: listOf(z.string().max(1_024)),
  Locations: listOf(locationSchema, 64),
  Forwarding: entryObject({ HeaderName: text, PadForwardPayloadHeader: z.boolean().default(false) }).exactOptional(),
  ClockSkewSeconds: z
    .int()
    .default(0)
    .transform((seconds) => (seconds === 0 ? 30 : seconds)), // Consul's
  CacheConfig: entryObject({ Size: count }).exactOptional(),
});
export type JwtProvider = z.output<typeof jwtProviderSchema>;

/** @throws ConsulError 400 in Consul's words */
export function judgeJwtProvider(entry: JwtProvider): void {
  if (entry.Name === '') throw invalidEntry('Name is required');
  if (!/^[\x21-\x7e]{1,128}$/.test(entry.Name)) throw invalidEntry('Name is not printable ASCII of at most 128 bytes');
  judgeEntryMeta(entry.Meta);
  const { JSONWebKeySet: keys, Forwarding, Locations = [] } = entry;
  if (keys === undefined) throw invalidEntry('JSONWebKeySet is required');
  if ((keys.Local === undefined) === (keys.Remote === undefined)) {
    throw invalidEntry('must specify exactly one of Local or Remote JSON Web key set');
  }
  if (keys.Remote !== undefined) judgeRemote(keys.Remote);
  if (keys.Local !== undefined) judgeLocal(keys.Local);
  for (const location of Locations) judgeLocation(location);
  if (Forwarding !== undefined && Forwarding.HeaderName === undefined) {
    throw invalidEntry('Header name required for forwarding config');
  }
}

function judgeLocal({ JWKS = '', Filename }: { JWKS?: string; Filename?: string | undefined }): void {
  if ((JWKS === '') === (Filename === undefined)) {
    throw invalidEntry('must specify exactly one of String or filename for local keyset');
  }
  if (!z.base64().safeParse(JWKS).success) throw invalidEntry('JWKS must be valid base64 encoded string');
}

function judgeRemote({ URI, RetryPolicy, JWKSCluster }: Remote): void {
  if (URI === undefined) throw invalidEntry('Remote JWKS URI is required');
  if (!URL.canParse(URI)) throw invalidEntry(`Remote JWKS URI is invalid: ${JSON.stringify(URI)}`);
  const { BaseInterval = 0, MaxInterval = 0 } = RetryPolicy?.RetryPolicyBackOff ?? {};
  if (MaxInterval !== 0 && BaseInterval > MaxInterval) {
    throw invalidEntry("retry policy backoff's MaxInterval should be greater or equal to BaseInterval");
  }
  const tls = JWKSCluster?.TLSCertificates;
  if (tls === undefined) return;
  if ((tls.CaCertificateProviderInstance === undefined) === (tls.TrustedCA === undefined)) {
    throw invalidEntry(
      "must specify exactly one of: CaCertificateProviderInstance or TrustedCA for JKWS' TLSCertificates",
    );
  }
  if (tls.TrustedCA !== undefined && Object.keys(tls.TrustedCA).length !== 1) {
    throw invalidEntry(
      "must specify exactly one of: Filename, EnvironmentVariable, InlineString or InlineBytes for JWKS' TrustedCA",
    );
  }
}

function judgeLocation({ Header, QueryParam, Cookie }: z.output<typeof locationSchema>): void {
  if ([Header, QueryParam, Cookie].filter((one) => one !== undefined).length !== 1) {
    throw invalidEntry('must set exactly one of: JWT location header, query param or cookie');
  }
  if (Header !== undefined && Header.Name === undefined)
    throw invalidEntry('JWT location header name must be specified');
  if (Cookie !== undefined && Cookie.Name === undefined)
    throw invalidEntry('JWT location cookie name must be specified');
  if (QueryParam !== undefined && QueryParam.Name === undefined)
    throw invalidEntry('JWT location query param name must be specified');
}
