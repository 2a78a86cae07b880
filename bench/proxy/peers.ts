import type { Programs } from '../install.ts';
import { envoy } from './envoy.ts';
import { haproxy } from './haproxy.ts';
import type { Peer } from './hop.ts';
import { nginx } from './nginx.ts';

/** All peers that the benchmark knows. */
export const peerNames = ['haproxy', 'nginx', 'envoy'] as const;

/** Those that could be had. */
export function peersOf({ haproxy: haproxyBinary, nginx: nginxBinary, envoy: envoyBinary }: Programs): Peer[] {
  return [
    ...(haproxyBinary === undefined ? [] : [haproxy(haproxyBinary)]),
    nginx(nginxBinary),
    ...(envoyBinary === undefined ? [] : [envoy(envoyBinary)]),
  ];
}

/** Names of those that could not. */
export const missingPeers = (programs: Programs): string[] => peerNames.filter((name) => programs[name] === undefined);
