import { MeshError } from '#policies/errors/mesh-error.ts';
import type { OptionSet } from '#runtime/configuration.ts';
import { serviceUrl } from '#runtime/option-kinds.ts';
import { isLoopback } from '#runtime/socket-address.ts';
import { config } from './process-options.ts';

/** What every command takes to reach the edge proxy of this host. */
export const edgeProxyClientOptions = {
  admin: {
    parse: adminUrl,
    placeholder: 'url',
    default: 'http://127.0.0.1:19000',
    description: 'admin API of the edge proxy, on this host (its --admin-addr)',
  },
  config,
} as const satisfies OptionSet;

/** It has no authentication, so it listens on loopback only, and speaks plain HTTP. */
function adminUrl(value: string): string {
  const url = serviceUrl(value);
  const { protocol, hostname } = new URL(url);
  if (protocol === 'http:' && (hostname === 'localhost' || isLoopback(hostname.replace(/^\[(.*)\]$/, '$1'))))
    return url;
  throw new MeshError(
    'SLV-1002',
    `"${value.slice(0, 80)}" is no admin API: each is on its own host's loopback, as in http://127.0.0.1:19000`,
  );
}
