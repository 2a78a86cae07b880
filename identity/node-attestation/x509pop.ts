import { createHash, type KeyObject, X509Certificate } from 'node:crypto';
import { compactVerify } from 'jose';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { extendedKeyUsageOid } from '#policies/svid-leaf.ts';
import { statementAlgorithms, type X509Statement, x509StatementSchema } from '#policies/wire/attest-api.ts';
import { readFileBounded } from '#runtime/atomic-file.ts';
import type { Clock } from '#runtime/clock.ts';
import { type CertificateLink, readCertificateLink } from '#runtime/svid/certificate-link.ts';
import { allowsUses, findCertificatePath, flawOfTime, iso, validity } from '#runtime/svid/certificate-path.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import type { X509PopConfig } from './attestation-config.ts';
import type { Attested } from './attested.ts';
import type { Challenges } from './challenges.ts';
import type { Claims } from './claims.ts';

const maxRootsBytes = 1_048_576;
const maxChain = 8;
/** The machine is a client to us; a certificate that says what it is for must say so. */
const uses = [extendedKeyUsageOid.clientAuth];

/**
 * Attestation by a machine's certificate: the node signs our challenge, and its own new key with it, by the certificate's key. As SPIRE's x509pop, but in one
 * signature over both, which nobody in between can use for a key of his own.
 */
export class X509PopAttestor {
  readonly #config: X509PopConfig;
  readonly #challenges: Challenges;
  readonly #clock: Clock;

  constructor(config: X509PopConfig, challenges: Challenges, clock: Clock) {
    this.#config = config;
    this.#challenges = challenges;
    this.#clock = clock;
  }

  /**
   * Reads the roots, so that a start fails where every attestation would.
   * @throws MeshError SLV-1005
   */
  async check(): Promise<void> {
    await this.#roots();
  }

  async attest(
    { chain, statement }: { readonly chain: string; readonly statement: string },
    { spkiSha256 }: { readonly spkiSha256: string },
  ): Promise<Attested> {
    const [leaf, ...sent] = readChain(chain);
    if (leaf === undefined) throw refused('there is none');
    const root = await this.#verifiedRoot(leaf, sent);
    const { challenge, nodeKey } = await readStatement(statement, leaf.key);
    if (nodeKey !== spkiSha256) throw refused('its key has signed for another node key');
    // Last: what fails before leaves the challenge good.
    this.#challenges.use(challenge);
    const sha256 = fingerprint(leaf);
    return {
      claims: claimsOf(leaf, sha256, fingerprint(root)),
      mappings: this.#config.mappings,
      source: `root ${fingerprint(root).slice(0, 16)}`,
      subject: `sha256 ${sha256}`,
    };
  }

  async #verifiedRoot(leaf: CertificateLink, sent: readonly CertificateLink[]): Promise<CertificateLink> {
    const { facts } = leaf;
    const nowMs = this.#clock();
    if (facts.isCa || facts.keyUsage?.keyCertSign === true) throw refused('it is the certificate of a CA');
    if (facts.keyUsage !== undefined && !facts.keyUsage.digitalSignature)
      throw refused('its key may not sign (keyUsage)');
    if (!allowsUses(facts.extendedKeyUsage, uses)) throw refused('it is not for TLS clients (extendedKeyUsage)');
    if (flawOfTime(leaf, nowMs) !== undefined) throw refused(`it is valid ${validity(leaf)}, now is ${iso(nowMs)}`);
    const path = findCertificatePath(leaf, { roots: await this.#roots(), sent, nowMs, uses });
    if (!('links' in path))
      throw refused(path.flaw === 'untrusted-root' ? 'no root of the configuration leads to it' : path.what);
    const root = path.links.at(-1);
    if (root === undefined) throw refused('no root of the configuration leads to it');
    return root;
  }

  async #roots(): Promise<CertificateLink[]> {
    const { rootsFile: path } = this.#config;
    const pem = await readFileBounded(path, maxRootsBytes);
    if (pem === undefined) throw new MeshError('SLV-1005', `There is no file ${path}.`, { detail: { path } });
    try {
      return certificatesOfPem(pem.toString('utf8')).map(readCertificateLink);
    } catch (cause) {
      throw new MeshError('SLV-1005', `${path} does not hold PEM certificates that can be used.`, {
        detail: { path },
        cause,
      });
    }
  }
}

function readChain(pem: string): CertificateLink[] {
  try {
    const chain = certificatesOfPem(pem);
    if (chain.length > maxChain) throw refused(`it comes with over ${maxChain - 1} more`);
    return chain.map(readCertificateLink);
  } catch (cause) {
    if (!(cause instanceof MeshError) || cause.code === 'SLV-2107') throw cause;
    throw refused(cause.message.replace(/\.$/, ''), cause);
  }
}

async function readStatement(statement: string, key: KeyObject): Promise<X509Statement> {
  try {
    const { payload } = await compactVerify(statement, key, { algorithms: [...statementAlgorithms] });
    return x509StatementSchema.parse(JSON.parse(Buffer.from(payload).toString('utf8')));
  } catch (cause) {
    throw refused(`the statement is not signed by its key (${statementAlgorithms.join(', ')})`, cause);
  }
}

function claimsOf(leaf: CertificateLink, sha256: string, rootSha256: string): Claims {
  const { facts, der } = leaf;
  const subject = new X509Certificate(der).toLegacyObject().subject as { readonly CN?: unknown } | undefined;
  return {
    subject: { cn: subject?.CN },
    dns: facts.dnsSans,
    uri: facts.uriSans,
    serial: facts.serialHex,
    sha256,
    root: { sha256: rootSha256 },
  };
}

/** Lower-case hex SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` has it without colons. */
function fingerprint({ der }: CertificateLink): string {
  return createHash('sha256').update(der).digest('hex');
}

function refused(flaw: string, cause?: unknown): MeshError {
  return new MeshError('SLV-2107', `The machine's certificate is refused: ${flaw}.`, { cause });
}
