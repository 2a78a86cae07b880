import { ConsulError } from '#policies/consul/consul-error.ts';
import type { Refusal } from './permissions.ts';

/** Ends a request on one of Consul's routes that is refused: 403 in Consul's words, then ours. */
export function denied(refusal: Refusal): void {
  if (refusal !== undefined) throw new ConsulError(403, `Permission denied: ${refusal}`);
}
