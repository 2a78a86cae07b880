import type { Check } from '../state/checks.ts';
import type { Node } from '../state/nodes.ts';
import type { ServiceInstance } from '../state/services.ts';

/** How things of the catalog look on Consul's routes: names, types and empty values as its clients know them (reference: api/catalog.go, api/health.go). */

/** An item of GET /v1/catalog/nodes, and `Node` of a health entry. */
export function nodeView({ record, createIndex, modifyIndex }: Node, datacenter: string) {
  return {
    ID: record.ID,
    Node: record.Node,
    Address: record.Address,
    Datacenter: datacenter,
    TaggedAddresses: record.TaggedAddresses,
    Meta: record.Meta,
    ...(record.Locality === undefined ? {} : { Locality: record.Locality }),
    CreateIndex: createIndex,
    ModifyIndex: modifyIndex,
  };
}

/** AgentService: an instance as health and node routes show it. `Kind` is left out where it is empty (Go's omitempty). */
export function agentServiceView({ record, createIndex, modifyIndex }: ServiceInstance) {
  return {
    ...(record.Kind === '' ? {} : { Kind: record.Kind }),
    ID: record.ID,
    Service: record.Service,
    Tags: record.Tags,
    Address: record.Address,
    ...(Object.keys(record.TaggedAddresses).length === 0 ? {} : { TaggedAddresses: record.TaggedAddresses }),
    Meta: record.Meta,
    Port: record.Port,
    ...(record.Ports === undefined || record.Ports.length === 0 ? {} : { Ports: record.Ports }),
    Weights: record.Weights,
    EnableTagOverride: record.EnableTagOverride,
    Proxy: proxyView(record.Proxy),
    Connect: record.Connect,
    ...(record.Locality === undefined ? {} : { Locality: record.Locality }),
    CreateIndex: createIndex,
    ModifyIndex: modifyIndex,
  };
}

export type AgentServiceView = ReturnType<typeof agentServiceView>;

/** CatalogService: instance and node in one object. */
export function catalogServiceView(instance: ServiceInstance, node: Node, datacenter: string) {
  const { record } = instance;
  return {
    ID: node.record.ID,
    Node: node.record.Node,
    Address: node.record.Address,
    Datacenter: datacenter,
    TaggedAddresses: node.record.TaggedAddresses,
    NodeMeta: node.record.Meta,
    ServiceKind: record.Kind,
    ServiceID: record.ID,
    ServiceName: record.Service,
    ServiceTags: record.Tags,
    ServiceAddress: record.Address,
    ServiceTaggedAddresses: record.TaggedAddresses,
    ServiceWeights: record.Weights,
    ServiceMeta: record.Meta,
    ServicePort: record.Port,
    ServiceEnableTagOverride: record.EnableTagOverride,
    ServiceProxy: proxyView(record.Proxy),
    ServiceConnect: record.Connect,
    // Consul's catalog routes carry the field and leave it empty; checks are on the health routes.
    Checks: [],
    CreateIndex: instance.createIndex,
    ModifyIndex: instance.modifyIndex,
  };
}

/** HealthCheck. */
export function checkView({ record, createIndex, modifyIndex }: Check) {
  return {
    Node: record.Node,
    CheckID: record.CheckID,
    Name: record.Name,
    Status: record.Status,
    Notes: record.Notes,
    Output: record.Output,
    ServiceID: record.ServiceID,
    ServiceName: record.ServiceName,
    ServiceTags: record.ServiceTags,
    Type: record.Type,
    Interval: text(record.Definition['Interval']),
    Timeout: text(record.Definition['Timeout']),
    ExposedPort: 0,
    Definition: record.Definition,
    CreateIndex: createIndex,
    ModifyIndex: modifyIndex,
  };
}

/** ServiceEntry: node, instance, and the checks of both. */
export function serviceEntryView(instance: ServiceInstance, node: Node, checks: readonly Check[], datacenter: string) {
  return { Node: nodeView(node, datacenter), Service: agentServiceView(instance), Checks: checks.map(checkView) };
}

function proxyView(proxy: Readonly<Record<string, unknown>>) {
  return { Mode: '', MeshGateway: {}, Expose: {}, ...proxy };
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
