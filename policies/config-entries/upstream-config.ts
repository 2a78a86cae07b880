import type { z } from 'zod';
import type { CallerSettings, Calling } from '../caller-settings.ts';
import type { upstreamSchema } from './proxy-settings.ts';
import type { ServiceDefaults } from './service-defaults.ts';

type UpstreamConfig = z.output<typeof upstreamSchema>;

/** What a service's service-defaults say of its calls; undefined: nothing that proxies act on. What is said of an upstream by name goes before what is said of all. */
export function callingOf({ UpstreamConfig: said }: ServiceDefaults): Calling | undefined {
  const defaults = said?.Defaults === undefined ? {} : settingsOf(said.Defaults);
  const upstreams = (said?.Overrides ?? []).flatMap(({ Name = '', Peer, ...of }): [string, CallerSettings][] => {
    const own = settingsOf(of);
    // An upstream of a peer is called by another name; nobody of one is known here.
    return Peer === undefined && Object.keys(own).length > 0 ? [[Name, { ...defaults, ...own }]] : [];
  });
  if (Object.keys(defaults).length === 0 && upstreams.length === 0) return undefined;
  return {
    ...(Object.keys(defaults).length === 0 ? {} : { defaults }),
    ...(upstreams.length === 0 ? {} : { upstreams: Object.fromEntries(upstreams) }),
  };
}

/** The fields of UpstreamConfig that no proxy acts on. */
export function upstreamFieldsWithoutEffect({ UpstreamConfig: said }: ServiceDefaults): string[] {
  const all = [...(said?.Defaults === undefined ? [] : [said.Defaults]), ...(said?.Overrides ?? [])];
  return all.flatMap((upstream) => {
    const { PassiveHealthCheck: check = {}, Limits: limits = {}, MeshGateway: gateway } = upstream;
    const enforced = check.EnforcingConsecutive5xx;
    return [
      ...names(upstream, 'Peer', 'EnvoyListenerJSON', 'EnvoyClusterJSON', 'Protocol', 'BalanceOutboundConnections'),
      ...(gateway.Mode === undefined || gateway.Mode === 'none' ? [] : ['MeshGateway']),
      ...names(limits, 'MaxPendingRequests').map((name) => `Limits.${name}`),
      ...[
        ...names(check, 'Interval', 'Consecutive5xx', 'ConsecutiveGatewayFailure'),
        ...names(check, 'EnforcingConsecutiveGatewayFailure'),
        ...(enforced === undefined || enforced === 0 || enforced === 100
          ? []
          : [`EnforcingConsecutive5xx:${enforced}(0-or-100)`]),
      ].map((name) => `PassiveHealthCheck.${name}`),
    ].map((name) => `UpstreamConfig.${name}`);
  });
}

function settingsOf({ ConnectTimeoutMs, Limits = {}, PassiveHealthCheck: check = {} }: UpstreamConfig): CallerSettings {
  const { MaxConcurrentRequests, MaxConnections } = Limits;
  const { MaxFailures, MaxEjectionPercent, BaseEjectionTime = 0 } = check;
  const outlier = {
    ...(check.EnforcingConsecutive5xx === 0 ? { enabled: false as const } : {}),
    ...(MaxFailures === undefined || MaxFailures < 1 ? {} : { consecutiveFailures: MaxFailures }),
    ...(MaxEjectionPercent === undefined ? {} : { maxEjectedRatio: MaxEjectionPercent / 100 }),
    ...(BaseEjectionTime <= 0 ? {} : { baseEjectionMs: Math.max(1, Math.round(BaseEjectionTime / 1e6)) }),
  };
  return {
    ...(ConnectTimeoutMs === undefined ? {} : { connectTimeoutMs: Math.min(ConnectTimeoutMs, 86_400_000) }),
    ...(MaxConcurrentRequests === undefined ? {} : { maxConcurrentRequests: MaxConcurrentRequests }),
    ...(MaxConnections === undefined ? {} : { maxConnections: MaxConnections }),
    ...(Object.keys(outlier).length === 0 ? {} : { outlier }),
  };
}

function names<T extends object>(of: T, ...fields: readonly (keyof T & string)[]): string[] {
  return fields.filter((field) => of[field] !== undefined);
}
