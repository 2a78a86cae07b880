import { readFileSync } from 'node:fs';
import type { ChannelCredentials } from '@grpc/grpc-js';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { OptionSet, OptionValues } from '#runtime/configuration.ts';
import { text } from '#runtime/option-kinds.ts';
import { isLoopback } from '#runtime/socket-address.ts';

/** Where a service keeps its state when one machine is not enough. */
export const etcdOptions = {
  etcd: {
    parse: memberAddress,
    placeholder: 'address',
    repeatable: true,
    description:
      'keep the state in an etcd cluster, 3.4 or newer, instead of SQLite: 10.0.0.7:2379, once for each member',
  },
  etcdPrefix: {
    parse: keyPrefix,
    placeholder: 'prefix',
    default: 'selvedge',
    description: 'what all keys begin with; one for each mesh that shares a cluster',
  },
  etcdCaFile: { parse: text, placeholder: 'file', description: 'PEM roots behind the members; TLS is used when given' },
  etcdCertFile: { parse: text, placeholder: 'file', description: 'PEM certificate to show to the members' },
  etcdKeyFile: { parse: text, placeholder: 'file', description: 'PEM key of --etcd-cert-file' },
} as const satisfies OptionSet;

/** A cluster as the options name it. */
export interface EtcdLocation {
  /** `host:port` */
  readonly addresses: readonly string[];
  readonly prefix: string;
  readonly credentials: ChannelCredentials;
}

/**
 * @returns undefined where no member is named: SQLite then
 * @throws MeshError SLV-1003 for options that do not fit together, SLV-1005 for a file that can't be read
 */
export async function etcdLocation(options: OptionValues<typeof etcdOptions>): Promise<EtcdLocation | undefined> {
  const { etcd, etcdPrefix: prefix, etcdCaFile, etcdCertFile, etcdKeyFile } = options;
  if (etcd.length === 0) {
    if (etcdCaFile !== undefined || etcdCertFile !== undefined || etcdKeyFile !== undefined)
      throw new MeshError('SLV-1003', '--etcd-ca-file, --etcd-cert-file and --etcd-key-file need --etcd.');
    return undefined;
  }
  if ((etcdCertFile === undefined) !== (etcdKeyFile === undefined))
    throw new MeshError('SLV-1003', '--etcd-cert-file and --etcd-key-file are given together.');
  const addresses = etcd.map(({ address }) => address);
  // 65 modules that no command without etcd needs.
  const { credentials } = await import('@grpc/grpc-js');
  if (etcdCaFile === undefined) {
    // Whoever can write there can let anybody call anything.
    const far = etcd.find(({ host }) => !isLoopback(host));
    if (far !== undefined || etcdCertFile !== undefined)
      throw new MeshError(
        'SLV-1003',
        `etcd at ${far?.address ?? addresses[0]} needs --etcd-ca-file: plain text is for loopback only.`,
      );
    return { addresses, prefix, credentials: credentials.createInsecure() };
  }
  const [roots, key, chain] = [etcdCaFile, etcdKeyFile, etcdCertFile].map(pemFile);
  try {
    return {
      addresses,
      prefix,
      credentials: credentials.createSsl(roots ?? null, key ?? null, chain ?? null),
    };
  } catch (error) {
    throw new MeshError('SLV-1003', 'A file of --etcd-ca-file, --etcd-cert-file or --etcd-key-file is not usable.', {
      cause: error,
    });
  }
}

function pemFile(path: string | undefined): Buffer | undefined {
  if (path === undefined) return undefined;
  try {
    return readFileSync(path);
  } catch (error) {
    throw new MeshError('SLV-1005', `The file ${path} can not be read.`, { cause: error, detail: { path } });
  }
}

/** Names are allowed, other than for a listener: certificates of etcd members mostly hold names. */
function memberAddress(value: string): { readonly host: string; readonly address: string } {
  const url =
    /^[A-Za-z0-9.:[\]-]{1,300}$/.test(value) && URL.canParse(`tcp://${value}`) ? new URL(`tcp://${value}`) : undefined;
  if (url === undefined || url.hostname === '' || url.port === '')
    throw new MeshError(
      'SLV-1002',
      `"${value.slice(0, 80)}" is not the address of an etcd member; it takes the form 10.0.0.7:2379`,
    );
  return { host: url.hostname.replace(/^\[|\]$/g, ''), address: url.host };
}

function keyPrefix(value: string): string {
  if (!/^[A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*$/.test(value) || value.length > 128)
    throw new MeshError('SLV-1002', `"${value.slice(0, 80)}" is not a prefix; it takes the form selvedge or team/mesh`);
  return value;
}
