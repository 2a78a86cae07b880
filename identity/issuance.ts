import { hash } from 'node:crypto';
import { isMeshError, MeshError } from '#policies/errors/mesh-error.ts';
import { parseServiceName } from '#policies/service-name.ts';
import { type SpiffeId, serviceSpiffeId } from '#policies/spiffe-id.ts';
import type { IssueRequest } from '#policies/wire/identity-api.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { sideBySide } from '#runtime/svid/side-by-side.ts';
import { type Attestation, type Attested, type Evidence, entitle } from './attestation.ts';
import type { IdentityAudit } from './audit-events.ts';
import type { CaBackend } from './ca-backend.ts';
import { type CertificateRequest, readCertificateRequest, requireNothingElse } from './certificate-request.ts';
import { allowsDnsName } from './dns-name-rule.ts';
import { type CheckedConfig, svidTtlBounds } from './identity-config.ts';
import type { IssueCounts } from './issue-counts.ts';
import type { Nodes } from './nodes.ts';
import type { HeldSvids } from './status/held-svids.ts';
import { type VerifiedIssue, verifyIssued } from './verify-issued.ts';

/** Namespace of every service until namespaces come. */
export const defaultNamespace = 'default';

/** An SVID that may be handed out. */
export interface IssuedSvid extends VerifiedIssue {
  readonly spiffeId: SpiffeId;
}

/** A request for an SVID with all that its sender shows. */
export interface IssueCall extends Omit<Evidence, 'service'> {
  readonly request: IssueRequest;
  readonly remoteAddress: string;
  readonly signal?: AbortSignal;
}

/** What issuance is made of. */
export interface IssuanceParts {
  readonly config: Pick<CheckedConfig, 'trustDomain' | 'datacenter' | 'svidTtlSeconds' | 'dnsNames'>;
  readonly backend: CaBackend;
  readonly attestation: Attestation;
  readonly nodes: Nodes;
  readonly audit: IdentityAudit;
  readonly counts: IssueCounts;
  readonly held: HeldSvids;
  /** Whether an operator revoked this SPIFFE ID. */
  readonly isRevoked: (id: SpiffeId) => boolean;
  /** Whether this process may still sign, asked where no transaction records what was signed; absent: it is the only one. */
  readonly confirm?: (() => Promise<void>) | undefined;
  readonly context: ProcessContext;
}

/** The life of an SVID, in order: attest, decide the ID, check the CSR, sign, verify what came back, record, audit. */
export class Issuance {
  readonly #parts: IssuanceParts;

  constructor(parts: IssuanceParts) {
    this.#parts = parts;
  }

  /**
   * One SVID for an attested caller.
   * @throws MeshError as attestation.ts, certificate-request.ts and the backend do, SLV-2142 when the CA returned something else, SLV-2150
   */
  issue(call: IssueCall): Promise<IssuedSvid> {
    return sideBySide(() => this.#issue(call));
  }

  async #issue(call: IssueCall): Promise<IssuedSvid> {
    const facts: Record<string, string> = { remote: call.remoteAddress };
    try {
      const service = parseServiceName(call.request.service);
      facts['service'] = service;
      const attested = await this.#parts.attestation.attest({ ...call, service });
      facts['evidence'] = attested.kind;
      if (attested.kind !== 'open') facts['node'] = attested.node.id;
      entitle(attested, service);
      // The ID comes from what was proven. Of the CSR the key is used, and that it asks for nothing else is checked.
      const spiffeId = this.idOf(service);
      if (this.#parts.isRevoked(spiffeId)) throw new MeshError('SLV-2123', `${spiffeId} was revoked.`);
      const request = await readCertificateRequest(call.request.csr);
      const { dnsNames = [] } = this.#parts.config;
      const dnsSans = requireNothingElse(request, spiffeId, (name) => allowsDnsName(dnsNames, service, name));
      return await this.#mint(
        { spiffeId, request, dnsSans, asked: call.request.ttlSeconds, facts, signal: call.signal },
        attested,
        service,
      );
    } catch (error) {
      if (!isMeshError(error)) throw error;
      this.#parts.counts.refused(error.code);
      await this.#parts.audit.append({ event: 'svid-refused', ...facts, code: error.code, reason: error.message });
      throw error;
    }
  }

  /** An SVID for the identity service itself, which attests to nobody. */
  async issueOwn(service: string, csr: string): Promise<IssuedSvid> {
    const facts = { service, evidence: 'self' };
    return this.#mint(
      {
        spiffeId: this.idOf(service),
        request: await readCertificateRequest(csr),
        dnsSans: [],
        asked: undefined,
        facts,
        signal: undefined,
      },
      undefined,
      service,
    );
  }

  /** The SPIFFE ID of a service of this trust domain and datacenter. */
  idOf(service: string): SpiffeId {
    const { trustDomain, datacenter } = this.#parts.config;
    return serviceSpiffeId({ trustDomain, namespace: defaultNamespace, datacenter, service });
  }

  async #mint(
    wanted: {
      spiffeId: SpiffeId;
      request: CertificateRequest;
      dnsSans: readonly string[];
      asked: number | undefined;
      facts: Readonly<Record<string, string>>;
      signal: AbortSignal | undefined;
    },
    attested: Attested | undefined,
    service: string,
  ): Promise<IssuedSvid> {
    const { backend, nodes, audit, counts, held, context } = this.#parts;
    const { spiffeId, request, dnsSans, facts } = wanted;
    const order = { request, spiffeId, dnsSans, ttlSeconds: this.#lifetime(wanted.asked) };
    const signed = await backend.sign(order, wanted.signal);
    const issued = await verifyIssued(signed, order, signed.roots ?? backend.roots, context.clock());
    if (attested !== undefined && attested.kind !== 'open') {
      const svid = { service, serial: issued.serialHex, notAfterMs: issued.notAfterMs, authority: signed.issuer };
      await nodes.recordSvid(attested.node, svid, attested.shown);
    } else {
      await this.#parts.confirm?.();
    }
    const node = attested?.kind === 'open' ? undefined : attested?.node;
    held.issued(
      { node: node?.id, holder: `${node?.name ?? 'this'}/${service}` },
      { issuedAtMs: context.clock(), notAfterMs: issued.notAfterMs, authority: signed.issuer },
    );
    await audit.append({
      event: 'svid-issued',
      ...facts,
      spiffeId,
      ...(dnsSans.length === 0 ? {} : { dnsNames: dnsSans }),
      serial: issued.serialHex,
      notAfter: new Date(issued.notAfterMs).toISOString(),
      keySha256: hash('sha256', request.spkiDer),
      backend: backend.kind,
      ...(signed.reference === undefined ? {} : { backendRequest: signed.reference }),
    });
    counts.issued();
    return { ...issued, spiffeId };
  }

  /** What was asked, between floor and ceiling, and never past half of what the issuing CA has left. */
  #lifetime(askedSeconds: number | undefined): number {
    const { backend, config, context } = this.#parts;
    const asked = askedSeconds ?? config.svidTtlSeconds;
    const bounded = Math.min(Math.max(asked, svidTtlBounds.floor), svidTtlBounds.ceiling);
    const endMs = backend.issuingCaNotAfterMs;
    if (endMs === undefined) return bounded;
    const halfLeft = Math.floor((endMs - context.clock()) / 2_000);
    if (halfLeft < svidTtlBounds.floor) {
      throw new MeshError(
        'SLV-2140',
        `The issuing CA ends at ${new Date(endMs).toISOString()}, too soon to issue under it.`,
      );
    }
    return Math.min(bounded, halfLeft);
  }
}
