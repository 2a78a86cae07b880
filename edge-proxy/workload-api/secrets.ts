import { createHash } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { toPem } from '#policies/der-writer.ts';
import { quote } from '#policies/quote.ts';
import type { TrustBundle } from '#policies/trust-bundle.ts';
import type { MessageInput } from '#runtime/protobuf/message.ts';
import { RpcError } from './rpc-error.ts';
import { secret, spiffeValidator, typeUrl } from './wire/envoy-sds.ts';
import type { any } from './wire/google.ts';
import { trustDomainId, type WorkloadState } from './workload.ts';

/**
 * A workload's secrets as Envoy takes them, under the names that SPIRE gives them (doc/using_envoy.md there), so that its configurations work here:
 *
 * | name | secret |
 * |---|---|
 * | the workload's SPIFFE ID, or `default` | TlsCertificate: chain and key |
 * | a trust domain's SPIFFE ID, or `ROOTCA` for the own | CertificateValidationContext of that trust domain |
 * | `ALL` | CertificateValidationContext of all trust domains, each with its own roots |
 */

/** How Envoy is to verify peers: each trust domain under its own roots (`envoy.tls.cert_validator.spiffe`), or by Envoy's plain check of a chain. */
export type Validation = 'spiffe' | 'plain';

/** One secret, wrapped for the wire. */
export interface NamedSecret {
  readonly name: string;
  /** Of its contents alone: the same contents have the same version, also after a restart. */
  readonly version: string;
  readonly resource: MessageInput<typeof any>;
}

export const secretTypeUrl = typeUrl(secret);
const names = { certificate: 'default', ownBundle: 'ROOTCA', allBundles: 'ALL' } as const;

/**
 * The secrets of these names, in their order; of no names, all that there are.
 * @throws RpcError PERMISSION_DENIED for the name of anything that is not this workload's, INVALID_ARGUMENT for `ALL` where it would merge trust domains
 */
export function secretsOf(asked: Iterable<string>, state: WorkloadState, validation: Validation): NamedSecret[] {
  const given = [...asked];
  const bundleIds = [state.bundle, ...state.federated].map(({ trustDomain }) => trustDomainId(trustDomain));
  return (given.length === 0 ? [state.svid.spiffeId, ...bundleIds] : given).map((name) =>
    named(name, secretOf(name, state, validation)),
  );
}

/** The version of several together. */
export function versionOf(secrets: readonly NamedSecret[]): string {
  return hash(secrets.map(({ name, version }) => `${name} ${version}`).join('\n'));
}

function named(name: string, contents: Omit<MessageInput<typeof secret>, 'name'>): NamedSecret {
  const value = secret.encode({ name, ...contents });
  return { name, version: hash(value), resource: { typeUrl: secretTypeUrl, value } };
}

function secretOf(
  name: string,
  { svid, bundle, federated }: WorkloadState,
  validation: Validation,
): Omit<MessageInput<typeof secret>, 'name'> {
  if (name === svid.spiffeId || name === names.certificate)
    return { tlsCertificate: { certificateChain: inline(svid.chainPem), privateKey: inline(svid.keyPem) } };
  const all = [bundle, ...federated];
  if (name === names.allBundles) return validationOf(all, validation);
  const one = name === names.ownBundle ? bundle : all.find(({ trustDomain }) => trustDomainId(trustDomain) === name);
  if (one === undefined)
    throw new RpcError(status.PERMISSION_DENIED, `this workload is ${svid.spiffeId}: it has no secret ${quote(name)}`);
  return validationOf([one], validation);
}

function validationOf(
  bundles: readonly TrustBundle[],
  validation: Validation,
): Omit<MessageInput<typeof secret>, 'name'> {
  const [first] = bundles;
  if (validation === 'plain') {
    if (first === undefined || bundles.length > 1)
      throw new RpcError(
        status.INVALID_ARGUMENT,
        'ALL needs the SPIFFE validator: without it the roots of one trust domain would vouch for another',
      );
    return { validationContext: { trustedCa: inline(pemOf(first)) } };
  }
  const value = spiffeValidator.encode({
    trustDomains: bundles.map((bundle) => ({ name: bundle.trustDomain, trustBundle: inline(pemOf(bundle)) })),
  });
  return {
    validationContext: {
      customValidatorConfig: {
        name: 'envoy.tls.cert_validator.spiffe',
        typedConfig: { typeUrl: typeUrl(spiffeValidator), value },
      },
    },
  };
}

function pemOf({ x509Authorities }: TrustBundle): string {
  return x509Authorities.map((der) => toPem('CERTIFICATE', der)).join('');
}

function inline(text: string): { readonly inlineBytes: Uint8Array } {
  return { inlineBytes: Buffer.from(text) };
}

function hash(contents: string | Uint8Array): string {
  return createHash('sha256').update(contents).digest('hex').slice(0, 16);
}
