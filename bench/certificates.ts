import { execFileSync } from 'node:child_process';
import { join } from 'node:path';

/** Trust domain of the certificates that the peers get. */
const trustDomain = 'bench.selvedge';

/** A leaf with its key, as PEM files, and the names that are in it. */
export interface Leaf {
  readonly service: string;
  readonly certificateFile: string;
  readonly keyFile: string;
  /** The one URI SAN. */
  readonly spiffeId: string;
  /** A DNS SAN, for peers that can verify nothing else of a server. */
  readonly dnsName: string;
}

/** One CA and its leaves for the length of a run. */
export interface Authority {
  readonly caFile: string;
  leaf(service: string): Leaf;
}

/**
 * Makes a CA and leaves with openssl: EC P-256, SPIFFE URI SAN, both extended key usages, one day.
 *
 * @param directory where the PEM files go; exists
 */
export function createAuthority(directory: string): Authority {
  const caFile = join(directory, 'ca.crt');
  const caKeyFile = join(directory, 'ca.key');
  issue({ certificateFile: caFile, keyFile: caKeyFile, subject: '/CN=bench CA' }, [
    'basicConstraints=critical,CA:TRUE',
    'keyUsage=critical,keyCertSign,cRLSign',
  ]);
  const leaves = new Map<string, Leaf>();
  return {
    caFile,
    leaf(service) {
      const known = leaves.get(service);
      if (known !== undefined) return known;
      const made: Leaf = {
        service,
        certificateFile: join(directory, `${service}.crt`),
        // HAProxy looks for the key beside the certificate under this name.
        keyFile: join(directory, `${service}.crt.key`),
        spiffeId: `spiffe://${trustDomain}/ns/default/dc/dc1/svc/${service}`,
        dnsName: `${service}.mesh`,
      };
      issue(
        { ...made, subject: `/CN=${service}` },
        [
          `subjectAltName=URI:${made.spiffeId},DNS:${made.dnsName}`,
          'basicConstraints=critical,CA:FALSE',
          'keyUsage=critical,digitalSignature',
          'extendedKeyUsage=serverAuth,clientAuth',
        ],
        ['-CA', caFile, '-CAkey', caKeyFile],
      );
      leaves.set(service, made);
      return made;
    },
  };
}

function issue(
  to: { certificateFile: string; keyFile: string; subject: string },
  extensions: readonly string[],
  signer: readonly string[] = [],
): void {
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const files = ['-out', to.certificateFile, '-keyout', to.keyFile];
  const asked = extensions.flatMap((extension) => ['-addext', extension]);
  // -config /dev/null: none of the distribution's default extensions.
  const named = ['-config', '/dev/null', '-subj', to.subject, '-days', '1'];
  execFileSync('openssl', ['req', '-x509', ...curve, ...files, ...named, ...asked, ...signer], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}
