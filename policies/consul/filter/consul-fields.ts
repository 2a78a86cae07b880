import { type Fields, flag, listOf, mapOf, number, object, text } from './fields.ts';

/** What Consul documents as selectors of each list (api-docs: catalog, health, agent/service, agent/check, connect/intentions). */

/** GET /v1/catalog/nodes. */
export const nodeFields: Fields = {
  Address: text,
  Datacenter: text,
  ID: text,
  Meta: mapOf(text),
  Node: text,
  TaggedAddresses: mapOf(text),
};

const taggedServiceAddresses = mapOf(object({ Address: text, Port: number }));
const weights = object({ Passing: number, Warning: number });
const meshGateway = object({ Mode: text });
const proxy = object({
  DestinationServiceID: text,
  DestinationServiceName: text,
  LocalServiceAddress: text,
  LocalServicePort: number,
  Mode: text,
  TransparentProxy: object({ OutboundListenerPort: number }),
  MeshGateway: meshGateway,
  Upstreams: listOf(
    object({
      Datacenter: text,
      DestinationName: text,
      DestinationNamespace: text,
      DestinationType: text,
      LocalBindAddress: text,
      LocalBindPort: number,
      MeshGateway: meshGateway,
    }),
  ),
});

/** AgentService: GET /v1/catalog/node/:node, /v1/catalog/node-services/:node, /v1/agent/services; `Service` of a health entry. */
export const agentServiceFields: Fields = {
  Address: text,
  Connect: object({ Native: flag }),
  EnableTagOverride: flag,
  ID: text,
  Kind: text,
  Meta: mapOf(text),
  Port: number,
  Proxy: proxy,
  Service: text,
  TaggedAddresses: taggedServiceAddresses,
  Tags: listOf(text),
  Weights: weights,
};

/** CatalogService: GET /v1/catalog/service/:name, /v1/catalog/connect/:name and, instance by instance, /v1/catalog/services. */
export const catalogServiceFields: Fields = {
  Address: text,
  Datacenter: text,
  ID: text,
  Node: text,
  NodeMeta: mapOf(text),
  ServiceAddress: text,
  ServiceConnect: object({ Native: flag }),
  ServiceEnableTagOverride: flag,
  ServiceID: text,
  ServiceKind: text,
  ServiceMeta: mapOf(text),
  ServiceName: text,
  ServicePort: number,
  ServiceProxy: proxy,
  ServiceTaggedAddresses: taggedServiceAddresses,
  ServiceTags: listOf(text),
  ServiceWeights: weights,
  TaggedAddresses: mapOf(text),
};

/** HealthCheck: GET /v1/health/node, /checks, /state, and /v1/agent/checks. */
export const checkFields: Fields = {
  CheckID: text,
  Name: text,
  Node: text,
  Notes: text,
  Output: text,
  ServiceID: text,
  ServiceName: text,
  ServiceTags: listOf(text),
  Status: text,
};

/** ServiceEntry: GET /v1/health/service/:name, /connect, /ingress. */
export const serviceEntryFields: Fields = {
  Node: object(nodeFields),
  Service: object(agentServiceFields),
  Checks: listOf(object(checkFields)),
};

/** GET /v1/connect/intentions. */
export const intentionFields: Fields = {
  Action: text,
  Description: text,
  DestinationName: text,
  DestinationNS: text,
  ID: text,
  Meta: mapOf(text),
  Precedence: number,
  SourceName: text,
  SourceNS: text,
  SourceType: text,
};
