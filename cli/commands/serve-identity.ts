import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { IdentityConfig } from '#identity/identity-config.ts';
import type { RunningIdentity } from '#identity/main.ts';
import type { Admitted } from '#identity/processes/admission.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { OptionValues } from '#runtime/configuration.ts';
import { runUntilSignal } from '#runtime/lifecycle.ts';
import { createLogger } from '#runtime/logging.ts';
import { systemContext } from '#runtime/process-context.ts';
import { formatSocketAddress } from '#runtime/socket-address.ts';
import { identityOptions } from '../command-options.ts';
import { defineCommand } from '../define-command.ts';
import { etcdLocation } from '../etcd-options.ts';
import { vaultBackend } from '../vault-options.ts';

type Options = OptionValues<typeof identityOptions>;

/** `selvedge serve identity`. */
export function defineIdentityServe(serve: Command): void {
  defineCommand(serve, {
    name: 'identity',
    summary: 'the identity service: mints SVIDs from its own CA or from Vault / OpenBao',
    options: identityOptions,
    async run(options) {
      const [backend, etcd] = [backendOf(options), await etcdLocation(options)];
      if (options.replaceOperatorToken && etcd === undefined)
        throw new MeshError(
          'SLV-1003',
          '--replace-operator-token needs --etcd; else replace the file, and start again.',
        );
      const log = createLogger({ process: 'identity', level: options.logLevel });
      const context = systemContext(log);
      await runUntilSignal(log, async (signal) => {
        // Loaded when needed: a client command must not pay for a server's libraries.
        const [{ openServiceStore }, { startIdentity }, { startSharedIdentity }] = await Promise.all([
          import('../service-store.ts'),
          import('#identity/main.ts'),
          import('#identity/processes/shared-identity.ts'),
        ]);
        const { store, close } = await openServiceStore(
          { service: 'identity', dataDir: options.dataDir, etcd },
          context,
        );
        const config = configOf(options, backend);
        const start = (admitted?: Admitted, as = config) => startIdentity(as, context, store, admitted);
        const alone = etcd === undefined ? await start() : undefined;
        if (alone !== undefined) sayServing(alone);
        const name = `${hostname()} ${formatSocketAddress(options.listen)}`;
        const onStandby = () => void process.stdout.write('standby\n');
        const shared = { config, context, store, name, start, onServing: sayServing, onStandby, signal };
        const identity = alone ?? (await startSharedIdentity(shared));
        return {
          async close(graceMs) {
            await identity.close(graceMs);
            await close();
          },
        };
      });
    },
  });
}

function configOf(options: Options, backend: IdentityConfig['backend']): IdentityConfig {
  return {
    host: options.listen.host,
    port: options.listen.port,
    dataDir: options.dataDir,
    auditSync: options.auditSync === 'on',
    trustDomain: options.trustDomain,
    datacenter: options.datacenter,
    svidTtlSeconds: Math.round(options.svidTtl / 1_000),
    dnsNames: options.svidDnsName,
    open: false,
    backend,
    catalogUrl: options.catalog,
    federation: federationOf(options),
    attestation: options.attestation ?? [],
    rotation: rotationOf(options),
    takeoverNow: options.takeoverNow,
    replaceOperatorToken: options.replaceOperatorToken,
    onRotation: (rotation) => {
      const target = rotation.state === 'idle' ? '' : `${rotation.target} `;
      process.stdout.write(`rotation ${target}${rotation.state}\n`);
    },
  };
}

function sayServing(identity: RunningIdentity): void {
  process.stdout.write(`identity ${identity.url}\n`);
  for (const pin of identity.pins) process.stdout.write(`ca-pin ${pin}\n`);
  if (identity.federationUrl !== undefined) process.stdout.write(`federation ${identity.federationUrl}\n`);
  if (identity.operatorTokenPath !== undefined)
    process.stdout.write(`operator-token-file ${identity.operatorTokenPath}\n`);
  process.stdout.write('ready\n');
}

function federationOf(options: Options): NonNullable<IdentityConfig['federation']> {
  const { federationListen, federationTlsCert, federationTlsKey, federationWebCaFile } = options;
  const given = [federationListen, federationTlsCert, federationTlsKey].filter((value) => value !== undefined);
  if (given.length === 0) return { webRootsFile: federationWebCaFile };
  if (federationListen === undefined || federationTlsCert === undefined || federationTlsKey === undefined) {
    throw new MeshError(
      'SLV-1003',
      '--federation-listen, --federation-tls-cert and --federation-tls-key are given together',
    );
  }
  return {
    webRootsFile: federationWebCaFile,
    endpoint: {
      address: federationListen,
      certificate: { certFile: federationTlsCert, keyFile: federationTlsKey },
    },
  };
}

function rotationOf(options: Options): NonNullable<IdentityConfig['rotation']> {
  const fraction = (percent: number): number | undefined => (percent === 0 ? undefined : percent / 100);
  return {
    issuingAtFraction: fraction(options.rotateIssuingAt),
    rootAtFraction: fraction(options.rotateRootAt),
    deadlineMs: options.rotationDeadline,
    settleMs: options.rotationSettle,
  };
}

function backendOf(options: Options): IdentityConfig['backend'] {
  if (options.backend === 'embedded') return { kind: 'embedded' };
  return vaultBackend(options.backend, options, join(options.dataDir, 'vault-secret-id.json'));
}
