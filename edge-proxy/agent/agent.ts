import type { Hono } from 'hono';
import { decodeValue } from '#policies/consul/go-json.ts';
import type { PeerEnv } from '#runtime/http-service.ts';
import type { AgentOptions } from './agent-options.ts';
import { AntiEntropy } from './anti-entropy.ts';
import { Changes } from './changes.ts';
import type { Alias } from './checks/alias.ts';
import { ProbeSlots } from './checks/probe-slots.ts';
import { KeptState } from './kept-state.ts';
import { LocalState } from './local-state.ts';
import { remoteAliasResult } from './remote-alias.ts';
import { isScript, requireScriptsEnabled } from './script-access.ts';
import {
  identityOf,
  type LocalService,
  type ServiceRequest,
  serviceAliases,
  serviceSchema,
  toServiceDefinition,
} from './service-definition.ts';
import { systemTimers } from './timers.ts';

/** The local agent: services and checks of this host, shown over Consul's /v1/agent and kept in the catalog. */
export interface Agent {
  /** /v1/agent/* of Consul. Loaded when asked for: most proxies serve it nowhere, and with Hono it is 8 MB. */
  app(): Promise<Hono<{ Bindings: PeerEnv }>>;
  /**
   * What PUT /v1/agent/service/register does (checks that are not named go), for what the process says again at every start: it is not kept. Throws ConsulError when the definition does not
   * hold together.
   */
  register(service: ServiceRequest): void;
  /** Registers again what clients had registered before a restart, and keeps what they register from now on. Call it after `register`, once. */
  restore(): Promise<void>;
  /** Ports of the services that are registered here, those of proxies aside. */
  ports(): ReadonlySet<number>;
  /** Throws ConsulError 404 when there is none. */
  deregister(serviceId: string): void;
  /** Resolves with true once the catalog has all of it, with false when the agent was closed before. */
  synced(): Promise<boolean>;
  /** What the catalog refused, in its words, by `service/ID` or `check/ID`. */
  readonly refused: ReadonlyMap<string, string>;
  /** Call it when the catalog was away: compares all registrations now instead of at the next round. */
  catalogReturned(): void;
  /**
   * A successor takes over with what is kept now: from here on clients may only read. @returns takes that back
   */
  stepAside(): Promise<() => void>;
  /** Stops the checks, leaving everything registered: a successor has it. */
  leave(): Promise<void>;
  /** Stops the checks and deregisters everything from the catalog; what can't be reached within seconds is logged and left. */
  close(): Promise<void>;
}

/** Starts an agent without services. */
export function createAgent(options: AgentOptions): Agent {
  const { nodeName, nodeAddress, datacenter, catalog, context, signal } = options;
  const timers = options.timers ?? systemTimers;
  const changes = new Changes();
  const kept = options.stateFile === undefined ? undefined : new KeptState(options.stateFile, timers, context.log);
  const world = {
    timers,
    random: context.random,
    clock: context.clock,
    slots: new ProbeSlots(timers),
    nodeName,
    remoteAlias: (alias: Alias, onBehalfOf: LocalService | undefined) => remoteAliasResult(catalog, alias, onBehalfOf),
  };
  let told = '';
  const ports = (): ReadonlySet<number> =>
    new Set([...state.services.values()].flatMap(({ Kind, Port }) => (Kind === '' && Port > 0 ? [Port] : [])));
  /** Checks change more often than services do. */
  const servicesChanged = (): void => {
    const now = [...ports()].join();
    if (now === told) return;
    told = now;
    options.onServices?.();
  };
  const state: LocalState = new LocalState(world, {
    changed(serviceId, urgency) {
      sync.changed(serviceId, urgency);
      servicesChanged();
      changes.happened();
    },
    removed(what) {
      servicesChanged();
      if ('service' in what) {
        const { ID } = what.service;
        sync.removed(`service/${ID}`, { Node: nodeName, ServiceID: ID }, identityOf(what.service));
      } else {
        const { id } = what.check;
        sync.removed(`check/${id}`, { Node: nodeName, CheckID: id }, what.of && identityOf(what.of));
      }
      changes.happened();
    },
    lost(check) {
      const { serviceId, id, deregisterAfterMs } = check;
      context.log.warn({ service: serviceId, check: id, deregisterAfterMs }, 'critical for too long: deregistered');
    },
    toKeep: () => {
      if (!aside) kept?.changed();
    },
  });
  const place = { name: nodeName, address: nodeAddress, datacenter };
  const sync = new AntiEntropy(place, state, catalog, context, timers);
  let aside = false;

  const stopped = async (): Promise<void> => {
    state.stop();
    await kept?.close();
    changes.end();
    await sync.stop();
  };
  // Everything in it only stops; a failure of a round under way was logged there.
  const onAbort = () => void stopped();
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();

  return {
    async app() {
      const { agentApp } = await import('./agent-app.ts');
      return agentApp({ ...options, state, changes, timers, readOnly: () => aside });
    },
    register(request) {
      const definition = toServiceDefinition(decodeValue(serviceSchema, request, { aliases: serviceAliases }));
      state.register(definition, true, 'own');
    },
    async restore() {
      await kept?.restore(state, (check) => {
        if (isScript(check)) requireScriptsEnabled(options.scripts);
      });
    },
    ports,
    deregister: (serviceId) => state.deregister(serviceId),
    synced: () => sync.synced(),
    get refused() {
      return sync.refused;
    },
    async stepAside() {
      aside = true;
      await kept?.flush();
      return () => {
        aside = false;
      };
    },
    async leave() {
      signal.removeEventListener('abort', onAbort);
      await stopped();
      state.services.clear();
    },
    catalogReturned: () => sync.compareNow(),
    async close() {
      signal.removeEventListener('abort', onAbort);
      await stopped();
      const leaving = [...state.services.values()].map(async (service) => {
        try {
          await catalog.deregister({ Node: nodeName, ServiceID: service.ID }, identityOf(service));
        } catch (err) {
          context.log.warn({ err, service: service.ID }, 'could not be deregistered: the catalog still shows it');
        }
      });
      await Promise.all(leaving);
      state.services.clear();
    },
  };
}
