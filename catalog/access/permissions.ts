import { meshServiceOf, type ServiceRecord } from '../state/services.ts';
import type { Caller } from './caller.ts';

/** Why a caller may not, in words; undefined: it may. */
export type Refusal = string | undefined;

/** The suffix of the service under which a sidecar registers (Consul). */
export const sidecarSuffix = '-sidecar-proxy';

/** Operators, and everyone in dev. */
export function operatorOnly(caller: Caller): Refusal {
  switch (caller.kind) {
    case 'open':
    case 'operator':
      return undefined;
    case 'workload':
      return `${caller.spiffeId} is a workload; this takes an operator's token`;
    case 'anonymous':
      return caller.reason;
  }
}

/** Reading discovery: whoever is known. */
export function knownOnly(caller: Caller): Refusal {
  return caller.kind === 'anonymous' ? caller.reason : undefined;
}

/** What concerns one service (its feed, decisions about it): the service itself and operators. */
export function ownOnly(caller: Caller, service: string): Refusal {
  if (caller.kind !== 'workload') return operatorOnly(caller);
  return caller.service === service ? undefined : `${caller.spiffeId} is not ${service}`;
}

/**
 * Registering, changing or removing one instance: a workload its own service's and its sidecar's, nothing else's. A sidecar that names another
 * service as its destination would bring itself into the traffic of that one, so the destination counts too.
 */
export function mayWriteInstance(caller: Caller, record: ServiceRecord): Refusal {
  if (caller.kind !== 'workload') return operatorOnly(caller);
  const { service } = caller;
  const owned = record.Service === service || record.Service === `${service}${sidecarSuffix}`;
  const reserved = record.Service.startsWith('selvedge-') && !service.startsWith('selvedge-');
  if (!owned || reserved) return `${caller.spiffeId} may not write service ${record.Service}`;
  const carried = meshServiceOf(record);
  if (carried !== undefined && carried !== service && carried !== record.Service) {
    return `${caller.spiffeId} may not write a proxy of ${carried}`;
  }
  return undefined;
}
