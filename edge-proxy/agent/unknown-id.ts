import { ConsulError } from '#policies/consul/consul-error.ts';

/** 404 in the words that Consul's clients look for. */
export function unknownService(id: string): ConsulError {
  return new ConsulError(
    404,
    `Unknown service ID ${JSON.stringify(id)}. Ensure that the service ID is passed, not the service name.`,
  );
}

/** As above, for a check. */
export function unknownCheck(id: string): ConsulError {
  return new ConsulError(
    404,
    `Unknown check ID ${JSON.stringify(id)}. Ensure that the check ID is passed, not the check name.`,
  );
}
