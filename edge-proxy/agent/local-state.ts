import type { CheckStatus } from '#policies/consul/check-status.ts';
import { ConsulError } from '#policies/consul/consul-error.ts';
import type { CheckDefinition } from './check-definition.ts';
import { type Alias, aliasResult } from './checks/alias.ts';
import type { ProbeResult } from './checks/probe.ts';
import { type CheckState, type CheckWorld, LocalCheck } from './local-check.ts';
import { type LocalService, maxChecksOfService, type ServiceDefinition } from './service-definition.ts';
import { sidecarIdOf } from './sidecar-service.ts';
import { unknownCheck, unknownService } from './unknown-id.ts';

/** Most services of one agent, and checks in all. */
const maxServices = 256;
const maxChecks = 2048;
const noReason = (what: 'service' | 'node') =>
  `Maintenance mode is enabled for this ${what}, but no reason was provided. This is a default message.`;

/**
 * Who registered something: a client over the API, whose word is kept over a restart, or this process, which says it again when it starts. What a client
 * registers in place of the process's own becomes the client's.
 */
export type Origin = 'client' | 'own';

/** What happened to the local state, for those who carry it on (anti-entropy, blocked readers). */
export interface LocalStateListener {
  /** The service (or, with '', a check of the node) is new or different. `later`: only the output of a check. */
  changed(serviceId: string, urgency: 'now' | 'later'): void;
  removed(
    what:
      | { readonly service: LocalService }
      | { readonly check: CheckDefinition; readonly of: LocalService | undefined },
  ): void;
  /** A check was critical for so long that its service is being deregistered. */
  lost(check: CheckDefinition): void;
  /** Something is to be kept that was not yet: a registration, a state, a sign of life. */
  toKeep(): void;
}

/** What the local state needs of its surroundings. */
export interface LocalStateWorld extends Pick<CheckWorld, 'timers' | 'random' | 'clock' | 'slots'> {
  readonly nodeName: string;
  /** How a service of another node is, or that node; asked on behalf of a service of this one. */
  remoteAlias(alias: Alias, onBehalfOf: LocalService | undefined): Promise<ProbeResult>;
}

/** The services and checks of this host, as they were registered here. The catalog follows it, not the other way round. */
export class LocalState {
  readonly services = new Map<string, LocalService>();
  readonly checks = new Map<string, LocalCheck>();
  readonly #world: LocalStateWorld;
  readonly #listener: LocalStateListener;
  /** `service/ID` and `check/ID` of what this process registered itself. */
  readonly #own = new Set<string>();
  /** Ids of services that were registered as sidecars along with others, and go with them. */
  readonly #sidecars = new Set<string>();
  #aliasesDue: NodeJS.Immediate | undefined;

  constructor(world: LocalStateWorld, listener: LocalStateListener) {
    this.#world = world;
    this.#listener = listener;
  }

  /**
   * Adds or replaces a service, and the sidecar that it brings along. Throws ConsulError 400 at the bounds, and nothing is registered then.
   * @param replaceChecks drops the checks that the definition does not name
   */
  register(definition: ServiceDefinition, replaceChecks: boolean, origin: Origin, sidecar?: ServiceDefinition): void {
    const all = sidecar === undefined ? [definition] : [definition, sidecar];
    const added = all.filter(({ service }) => !this.services.has(service.ID)).length;
    if (this.services.size + added > maxServices) throw new ConsulError(400, `More than ${maxServices} services`);
    const checks = all.flatMap((each) => each.checks);
    for (const check of checks) this.#requireRoom(check, checks.length);
    for (const each of all) this.#register(each, replaceChecks, origin);
    if (sidecar !== undefined) this.#sidecars.add(sidecar.service.ID);
  }

  /** Whether it was registered along with another service. */
  isSidecar(id: string): boolean {
    return this.#sidecars.has(id);
  }

  /** It was registered along with another before a restart. */
  rememberSidecar(id: string): void {
    if (this.services.has(id)) this.#sidecars.add(id);
  }

  #register({ service, checks }: ServiceDefinition, replaceChecks: boolean, origin: Origin): void {
    const { ID } = service;
    this.#sidecars.delete(ID);
    this.services.set(ID, service);
    if (replaceChecks) {
      const kept = new Set(checks.map((check) => check.id));
      for (const check of this.checksOf(ID)) if (!kept.has(check.definition.id)) this.#removeCheck(check);
    }
    this.#mark(`service/${ID}`, origin);
    for (const check of checks) this.#startCheck(check, origin);
    this.#changed(ID, 'now');
  }

  /** With the sidecar that came along with it. Throws ConsulError 404. */
  deregister(id: string): void {
    const service = this.service(id);
    for (const check of this.checksOf(id)) {
      check.stop();
      this.checks.delete(check.definition.id);
    }
    this.services.delete(id);
    this.#sidecars.delete(id);
    this.#listener.removed({ service });
    this.#listener.toKeep();
    this.#refreshAliases();
    const sidecar = sidecarIdOf(id);
    if (this.#sidecars.has(sidecar)) this.deregister(sidecar);
  }

  /**
   * Adds or replaces a check. Throws ConsulError 404 when its service is not here, 400 at the bounds.
   * @param before what it said before a restart
   */
  registerCheck(check: CheckDefinition, origin: Origin, before?: CheckState): void {
    if (check.serviceId !== '' && !this.services.has(check.serviceId)) {
      throw new ConsulError(404, `ServiceID ${JSON.stringify(check.serviceId)} does not exist`);
    }
    this.#requireRoom(check, 1);
    this.#startCheck(check, origin, before);
    this.#changed(check.serviceId, 'now');
  }

  /** A sign of life for a TTL check. Throws ConsulError 404. @returns false when the check has no TTL */
  heard(id: string, status: CheckStatus, output: string): boolean {
    const heard = this.check(id).heard(status, output);
    if (heard) this.#listener.toKeep();
    return heard;
  }

  /** Whether this process registered it itself: `service/ID`, `check/ID`. */
  isOwn(key: `service/${string}` | `check/${string}`): boolean {
    return this.#own.has(key);
  }

  /** Throws ConsulError 404. */
  deregisterCheck(id: string): void {
    this.#removeCheck(this.check(id));
  }

  /** Takes a service out of or back into service. Throws ConsulError 404. */
  setMaintenance(id: string, enable: boolean, reason: string): void {
    this.service(id);
    this.#maintain(enable, {
      id: `_service_maintenance:${id}`,
      name: 'Service Maintenance Mode',
      notes: reason || noReason('service'),
      serviceId: id,
    });
  }

  /** Takes the whole host out of or back into service. */
  setNodeMaintenance(enable: boolean, reason: string): void {
    this.#maintain(enable, {
      id: '_node_maintenance',
      name: 'Node Maintenance Mode',
      notes: reason || noReason('node'),
      serviceId: '',
    });
  }

  /** Throws ConsulError 404. */
  service(id: string): LocalService {
    const service = this.services.get(id);
    if (service === undefined) throw unknownService(id);
    return service;
  }

  /** Throws ConsulError 404. */
  check(id: string): LocalCheck {
    const check = this.checks.get(id);
    if (check === undefined) throw unknownCheck(id);
    return check;
  }

  /** Checks of a service; '' for those of the node. */
  checksOf(serviceId: string): LocalCheck[] {
    return [...this.checks.values()].filter((check) => check.definition.serviceId === serviceId);
  }

  /** How a service is: the worst of its checks and the node's; maintenance before all (Consul's aggregation). */
  statusOf(serviceId: string): CheckStatus | 'maintenance' {
    const checks = [...this.checksOf(serviceId), ...this.checksOf('')];
    if (checks.some((check) => check.definition.work.kind === 'fixed')) return 'maintenance';
    const statuses = new Set(checks.map((check) => check.state.status));
    return statuses.has('critical') ? 'critical' : statuses.has('warning') ? 'warning' : 'passing';
  }

  /** Stops every check. */
  stop(): void {
    clearImmediate(this.#aliasesDue);
    for (const check of this.checks.values()) check.stop();
  }

  /** Maintenance is a check that says critical for as long as it is there (Consul). */
  #maintain(enable: boolean, check: Pick<CheckDefinition, 'id' | 'name' | 'notes' | 'serviceId'>): void {
    const existing = this.checks.get(check.id);
    if (!enable) {
      if (existing !== undefined) this.#removeCheck(existing);
      return;
    }
    const definition: CheckDefinition = {
      ...check,
      status: 'critical',
      work: { kind: 'fixed' },
      thresholds: { successBeforePassing: 0, failuresBeforeWarning: 0, failuresBeforeCritical: 0 },
      maxOutputBytes: 0,
      deregisterAfterMs: undefined,
      request: undefined,
    };
    this.registerCheck(definition, 'client');
  }

  #requireRoom(check: CheckDefinition, adding: number): void {
    const existing = this.checks.get(check.id)?.definition;
    if (existing !== undefined) {
      // Taking over another service's check would move it silently.
      if (existing.serviceId === check.serviceId) return;
      throw new ConsulError(400, `The check ${JSON.stringify(check.id)} belongs to another service`);
    }
    if (this.checks.size + adding > maxChecks) throw new ConsulError(400, `More than ${maxChecks} checks`);
    if (this.checksOf(check.serviceId).length >= maxChecksOfService) {
      throw new ConsulError(400, `More than ${maxChecksOfService} checks of one service`);
    }
  }

  /** A check that is registered again keeps what it said, until it has something new to say (Consul). */
  #startCheck(definition: CheckDefinition, origin: Origin, kept?: CheckState): void {
    const before = this.checks.get(definition.id);
    before?.stop();
    const same = before !== undefined && before.definition.work.kind === definition.work.kind;
    const state = same ? { status: before.state.status, output: before.state.output } : kept;
    const { work } = definition;
    // What names this node is of this node.
    const isHere = work.kind === 'alias' && work.node === this.#world.nodeName;
    const check = new LocalCheck(
      isHere ? { ...definition, work: { ...work, node: '' } } : definition,
      {
        ...this.#world,
        aliased: (alias) =>
          alias.node === ''
            ? this.#aliased(alias.serviceId, definition.id)
            : this.#world.remoteAlias(alias, this.services.get(definition.serviceId)),
        onChange: (_, change) => this.#changed(definition.serviceId, change === 'status' ? 'now' : 'later'),
        onLost: () => {
          this.#listener.lost(definition);
          this.deregister(definition.serviceId);
        },
      },
      state,
    );
    this.checks.set(definition.id, check);
    this.#mark(`check/${definition.id}`, origin);
  }

  /** How a service of this node is to its alias, which does not look at itself. */
  #aliased(serviceId: string, self: string): ProbeResult {
    const checks = [...this.checks.values()]
      .filter(({ definition }) => definition.id !== self)
      .map(({ definition: { name, serviceId }, state: { status, output } }) => ({ name, serviceId, status, output }));
    const exists = serviceId === '' || this.services.has(serviceId);
    return aliasResult({ node: this.#world.nodeName, serviceId }, checks, exists);
  }

  #changed(serviceId: string, urgency: 'now' | 'later'): void {
    this.#listener.changed(serviceId, urgency);
    this.#listener.toKeep();
    this.#refreshAliases();
  }

  /** Not in this very turn: what changes together is looked at once, and aliases of one another make no endless loop of it. */
  #refreshAliases(): void {
    this.#aliasesDue ??= setImmediate(() => {
      this.#aliasesDue = undefined;
      for (const check of this.checks.values()) check.refreshAlias();
    });
  }

  #mark(key: string, origin: Origin): void {
    if (origin === 'own') this.#own.add(key);
    else this.#own.delete(key);
  }

  #removeCheck(check: LocalCheck): void {
    const { definition } = check;
    check.stop();
    this.checks.delete(definition.id);
    this.#listener.removed({ check: definition, of: this.services.get(definition.serviceId) });
    this.#listener.toKeep();
    this.#refreshAliases();
  }
}
