import { z } from 'zod';
import {
  entryFields,
  entryObject,
  flag,
  invalidEntry,
  judgeEntryMeta,
  judgeOnlyName,
  listOf,
  oneOf,
} from './entry-object.ts';
import { incomingSchema, judgeIncoming } from './request-normalization.ts';

const tlsVersions = ['TLS_AUTO', 'TLSv1_0', 'TLSv1_1', 'TLSv1_2', 'TLSv1_3'] as const;
const cipherSuites: readonly string[] = [
  'TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256',
  'TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256',
  'TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256',
  'TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256',
  'TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA',
  'TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA',
  'TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384',
  'TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384',
  'TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA',
  'TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA',
];
const curves: readonly string[] = ['X25519MLKEM768', 'X25519', 'P-256', 'P-384', 'P-521'];

const no = z.boolean().default(false);
const tlsSchema = entryObject({
  TLSMinVersion: oneOf(tlsVersions),
  TLSMaxVersion: oneOf(tlsVersions),
  CipherSuites: listOf(z.string().max(128), 64),
  ECDHCurves: listOf(z.string().max(64), 16),
});
type Tls = z.output<typeof tlsSchema>;

/** Settings of the whole mesh: the one entry `mesh`. */
export const meshSchema = entryObject({
  ...entryFields('mesh'),
  /** Not kept by Consul, which knows but one; taken, for clients send it. */
  Name: z.string().max(256).default(''),
  TransparentProxy: entryObject({ MeshDestinationsOnly: no }).prefault({}),
  AllowEnablingPermissiveMutualTLS: flag,
  ValidateClusters: flag,
  TLS: entryObject({ Incoming: tlsSchema.exactOptional(), Outgoing: tlsSchema.exactOptional() }).exactOptional(),
  HTTP: entryObject({
    SanitizeXForwardedClientCert: no,
    Incoming: incomingSchema.exactOptional(),
  }).exactOptional(),
  Peering: entryObject({ PeerThroughMeshGateways: no }).exactOptional(),
}).transform((entry) => ({ ...entry, Name: entry.Name === '' ? 'mesh' : entry.Name }));
export type Mesh = z.output<typeof meshSchema>;

/** @throws ConsulError 400 in Consul's words */
export function judgeMesh(entry: Mesh): void {
  judgeOnlyName(entry.Name, 'mesh');
  judgeEntryMeta(entry.Meta);
  judgeIncoming(entry);
  for (const [direction, tls] of [
    ['incoming', entry.TLS?.Incoming],
    ['outgoing', entry.TLS?.Outgoing],
  ] as const) {
    const flaw = tls === undefined ? undefined : flawOf(tls);
    if (flaw !== undefined) throw invalidEntry(`error in ${direction} TLS configuration: ${flaw}`);
  }
}

function flawOf({
  TLSMinVersion: min,
  TLSMaxVersion: max,
  CipherSuites = [],
  ECDHCurves = [],
}: Tls): string | undefined {
  if (
    min !== undefined &&
    max !== undefined &&
    max !== 'TLS_AUTO' &&
    tlsVersions.indexOf(max) < tlsVersions.indexOf(min)
  ) {
    return `configuring max version ${max} less than the configured min version ${min} is invalid`;
  }
  if (CipherSuites.length > 0 && min === 'TLSv1_3') {
    return 'configuring CipherSuites is only applicable to connections negotiated with TLS 1.2 or earlier, TLSMinVersion is set to TLSv1_3';
  }
  const unknown = CipherSuites.find((suite) => !cipherSuites.includes(suite));
  if (unknown !== undefined) return `unsupported cipher suite: ${unknown}`;
  const curve = ECDHCurves.find((one) => !curves.includes(one));
  return curve === undefined ? undefined : `unsupported ECDH curve: ${curve}`;
}
