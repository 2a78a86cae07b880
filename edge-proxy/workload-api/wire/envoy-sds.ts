import type { ProtoFile } from '#runtime/protobuf/descriptor.ts';
import { bytes, choice, many, manyOf, mapOf, message, one, string } from '#runtime/protobuf/message.ts';
import { method, type Service } from '#runtime/protobuf/service.ts';
import { any, anyFile, rpcStatus, statusFile, struct, structFile } from './google.ts';

/**
 * Envoy's secret discovery on the wire: of each message the fields that are used here. Source: github.com/envoyproxy/data-plane-api, files as named below.
 */

const core = 'envoy.config.core.v3';
const tls = 'envoy.extensions.transport_sockets.tls.v3';
const discovery = 'envoy.service.discovery.v3';

const node = message(`${core}.Node`, { id: string(1), cluster: string(2), metadata: one(3, () => struct) });
const dataSource = message(`${core}.DataSource`, { inlineBytes: choice('specifier', bytes(2)) });
const typedExtensionConfig = message(`${core}.TypedExtensionConfig`, {
  name: string(1),
  typedConfig: one(2, () => any),
});

const tlsCertificate = message(`${tls}.TlsCertificate`, {
  certificateChain: one(1, () => dataSource),
  privateKey: one(2, () => dataSource),
});
const validationContext = message(`${tls}.CertificateValidationContext`, {
  trustedCa: one(1, () => dataSource),
  customValidatorConfig: one(12, () => typedExtensionConfig),
});
export const secret = message(`${tls}.Secret`, {
  name: string(1),
  tlsCertificate: choice(
    'type',
    one(2, () => tlsCertificate),
  ),
  validationContext: choice(
    'type',
    one(4, () => validationContext),
  ),
});
const validatorTrustDomain = message(`${tls}.SPIFFECertValidatorConfig.TrustDomain`, {
  name: string(1),
  trustBundle: one(2, () => dataSource),
});
export const spiffeValidator = message(`${tls}.SPIFFECertValidatorConfig`, {
  trustDomains: many(1, () => validatorTrustDomain),
});

export const discoveryRequest = message(`${discovery}.DiscoveryRequest`, {
  versionInfo: string(1),
  node: one(2, () => node),
  resourceNames: manyOf(3, 'string'),
  typeUrl: string(4),
  responseNonce: string(5),
  errorDetail: one(6, () => rpcStatus),
});
export const discoveryResponse = message(`${discovery}.DiscoveryResponse`, {
  versionInfo: string(1),
  resources: many(2, () => any),
  typeUrl: string(4),
  nonce: string(5),
});
export const deltaRequest = message(`${discovery}.DeltaDiscoveryRequest`, {
  node: one(1, () => node),
  typeUrl: string(2),
  resourceNamesSubscribe: manyOf(3, 'string'),
  resourceNamesUnsubscribe: manyOf(4, 'string'),
  initialResourceVersions: mapOf(5, 'string'),
  responseNonce: string(6),
  errorDetail: one(7, () => rpcStatus),
});
const resource = message(`${discovery}.Resource`, { version: string(1), resource: one(2, () => any), name: string(3) });
export const deltaResponse = message(`${discovery}.DeltaDiscoveryResponse`, {
  systemVersionInfo: string(1),
  resources: many(2, () => resource),
  typeUrl: string(4),
  nonce: string(5),
  removedResources: manyOf(6, 'string'),
});

export const secretService = {
  fullName: 'envoy.service.secret.v3.SecretDiscoveryService',
  methods: {
    DeltaSecrets: method('both-stream', deltaRequest, deltaResponse),
    StreamSecrets: method('both-stream', discoveryRequest, discoveryResponse),
    FetchSecrets: method('unary', discoveryRequest, discoveryResponse),
  },
} satisfies Service;

/** The type that an Any says it holds. */
export function typeUrl(type: { readonly fullName: string }): string {
  return `type.googleapis.com/${type.fullName}`;
}

const baseFile: ProtoFile = {
  name: 'envoy/config/core/v3/base.proto',
  package: core,
  imports: [structFile],
  messages: [node, dataSource],
};
const extensionFile: ProtoFile = {
  name: 'envoy/config/core/v3/extension.proto',
  package: core,
  imports: [anyFile],
  messages: [typedExtensionConfig],
};
const tlsPath = 'envoy/extensions/transport_sockets/tls/v3';
const tlsCommonFile: ProtoFile = {
  name: `${tlsPath}/common.proto`,
  package: tls,
  imports: [baseFile, extensionFile],
  messages: [tlsCertificate, validationContext],
};
const secretFile: ProtoFile = {
  name: `${tlsPath}/secret.proto`,
  package: tls,
  imports: [tlsCommonFile],
  messages: [secret],
};
const validatorFile: ProtoFile = {
  name: `${tlsPath}/tls_spiffe_validator_config.proto`,
  package: tls,
  imports: [baseFile],
  messages: [spiffeValidator, validatorTrustDomain],
};
const discoveryFile: ProtoFile = {
  name: 'envoy/service/discovery/v3/discovery.proto',
  package: discovery,
  imports: [baseFile, anyFile, statusFile],
  messages: [discoveryRequest, discoveryResponse, deltaRequest, resource, deltaResponse],
};
const sdsFile: ProtoFile = {
  name: 'envoy/service/secret/v3/sds.proto',
  package: 'envoy.service.secret.v3',
  imports: [discoveryFile],
  services: [secretService],
};

/** What is inside the Anys is told too, so that a client can read it. */
export const sdsFiles: readonly ProtoFile[] = [sdsFile, secretFile, validatorFile];
