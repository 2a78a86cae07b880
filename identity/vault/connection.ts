import type { ProcessContext } from '#runtime/process-context.ts';
import type { VaultAuth } from './login.ts';
import { openVaultSession, type VaultSession } from './session.ts';
import { openVaultTransport, type VaultTransport } from './transport.ts';

/** Where Vault or OpenBao is, and how the service proves itself to it: the same for every backend that uses it. */
export interface VaultConnectionConfig {
  /** `https://host:port`, or `http://` on loopback only. */
  readonly address: string;
  readonly namespace?: string;
  /** PEM file with the CAs of Vault's own https certificate. */
  readonly caFile?: string;
  /** Per request to Vault; default 5,000. */
  readonly timeoutMs?: number;
  readonly auth: VaultAuth;
}

/** A transport, and a session of the configured login over it. */
export interface VaultConnection {
  readonly transport: VaultTransport;
  readonly session: VaultSession;
  close(): void;
}

/**
 * Opens the connection; nothing is sent yet.
 * @throws MeshError SLV-1002, SLV-1005 (configuration)
 */
export function openVaultConnection(
  config: VaultConnectionConfig,
  context: Pick<ProcessContext, 'clock' | 'random' | 'log'>,
): VaultConnection {
  const { address, namespace, caFile, auth, timeoutMs = 5_000 } = config;
  const transport = openVaultTransport({
    address,
    timeoutMs,
    ...(namespace === undefined ? {} : { namespace }),
    ...(caFile === undefined ? {} : { caFile }),
    ...(auth.kind === 'cert' ? { clientCertificate: { certFile: auth.certFile, keyFile: auth.keyFile } } : {}),
  });
  const session = openVaultSession(transport, auth, context);
  return {
    transport,
    session,
    close() {
      session.close();
      transport.close();
    },
  };
}
