import { oneOf } from '#runtime/option-kinds.ts';
import { ServiceClient } from '../service-client.ts';

/** How a command of `selvedge identity` prints. */
export const outputOption = {
  parse: oneOf('table', 'json'),
  placeholder: 'form',
  default: 'table',
  description: 'table or json',
} as const;

/** The identity service, by the options that every such command takes. */
export function identityClient(options: {
  identity: string;
  tokenFile: string | undefined;
  caFile: string | undefined;
  caPin: string | undefined;
}): ServiceClient {
  return new ServiceClient('identity', { ...options, url: options.identity });
}
