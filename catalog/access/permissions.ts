import { patternHolds, reservedServicePrefix, type TokenRole } from '#policies/token-role.ts';
import { meshServiceOf, type ServiceRecord } from '../state/services.ts';
import { type Caller, nameOf } from './caller.ts';

/** Why a caller may not, in words; undefined: it may. */
export type Refusal = string | undefined;

/** The suffix of the service under which a sidecar registers (Consul). */
export const sidecarSuffix = '-sidecar-proxy';

/** Operators, and everyone in dev. */
export function operatorOnly(caller: Caller): Refusal {
  return refuse(caller, 'is no operator', () => false);
}

/** What the mesh does and how it is, but no secrets: operators and readers. */
export function readerOnly(caller: Caller): Refusal {
  return refuse(caller, 'is neither operator nor reader', ({ kind }) => kind === 'reader');
}

/**
 * Intentions and config entries, all of them: readers, and who writes the intentions of some destination. What is decided there depends on others' too: on
 * those for every destination, and on the protocol.
 */
export function policyReaderOnly(caller: Caller): Refusal {
  return refuse(caller, 'neither reads nor edits intentions', ({ kind }) => kind === 'reader' || kind === 'intentions');
}

/** Reading discovery: whoever is known. */
export function knownOnly(caller: Caller): Refusal {
  return caller.kind === 'anonymous' ? caller.reason : undefined;
}

/** Speaking for a service (its feed): the service itself and operators. A token proves no workload. */
export function ownOnly(caller: Caller, service: string): Refusal {
  if (caller.kind === 'workload' && caller.service === service) return undefined;
  return refuse(caller, `is not ${service}`, () => false);
}

/** Proxies of whatever service, and operators. */
export function proxyOnly(caller: Caller): Refusal {
  return caller.kind === 'workload' ? undefined : operatorOnly(caller);
}

/** Who may call a service: the service itself, who registers it, who edits its intentions, readers. */
export function mayAskAbout(caller: Caller, service: string): Refusal {
  if (caller.kind === 'workload' && caller.service === service) return undefined;
  return refuse(caller, `has nothing to do with ${service}`, (role) => {
    if (role.kind === 'intentions') return patternHolds(role.destinations, service);
    return role.kind === 'service' ? patternHolds(role.services, service) : role.kind === 'reader';
  });
}

/** Writing any intention at all: to be asked before a body is read that says whose. */
export function editorOnly(caller: Caller): Refusal {
  return refuse(caller, 'is neither operator nor editor of intentions', ({ kind }) => kind === 'intentions');
}

/** Writing intentions of a destination, whichever their source. Those for every destination (`*`) are operators'. */
export function mayEditIntentions(caller: Caller, destination: string): Refusal {
  return refuse(
    caller,
    `may not write intentions to ${destination}`,
    (role) => role.kind === 'intentions' && patternHolds(role.destinations, destination),
  );
}

/**
 * Registering, changing or removing one instance: a workload its own service's and its sidecar's, a token its services' and theirs, nothing else. A
 * sidecar that names another service as its destination would bring itself into the traffic of that one, so the destination counts too.
 */
export function mayWriteInstance(caller: Caller, record: ServiceRecord): Refusal {
  const owns = (service: string): boolean => {
    if (caller.kind === 'workload') return caller.service === service;
    if (service.startsWith(reservedServicePrefix)) return false;
    return rolesOf(caller).some((role) => role.kind === 'service' && patternHolds(role.services, service));
  };
  const name = record.Service;
  const base = name.endsWith(sidecarSuffix) ? name.slice(0, -sidecarSuffix.length) : name;
  const reserved = name.startsWith(reservedServicePrefix) && !owns(name);
  if (reserved || (!owns(name) && !owns(base))) return refuse(caller, `may not write service ${name}`, () => false);
  const carried = meshServiceOf(record);
  if (carried !== undefined && carried !== name && !owns(carried)) {
    return refuse(caller, `may not write a proxy of ${carried}`, () => false);
  }
  return undefined;
}

/** Operators may; whoever else is known by whom one of its roles lets. */
function refuse(caller: Caller, why: string, lets: (role: TokenRole) => boolean): Refusal {
  switch (caller.kind) {
    case 'open':
    case 'operator':
      return undefined;
    case 'token':
      if (caller.session.roles.some((role) => role.kind === 'operator' || lets(role))) return undefined;
      return `${nameOf(caller)} ${why}`;
    case 'workload':
      return `${caller.spiffeId} ${why}`;
    case 'anonymous':
      return caller.reason;
  }
}

function rolesOf(caller: Caller): readonly TokenRole[] {
  return caller.kind === 'token' ? caller.session.roles : [];
}
