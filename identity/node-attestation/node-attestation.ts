import { createHash } from 'node:crypto';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { AttestRequest } from '#policies/wire/attest-api.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import type { Store } from '#store/contract.ts';
import type { NodeProofs } from '../node-proof.ts';
import { type NodeKey, type NodeRecord, type Nodes, readNodeKey } from '../nodes.ts';
import type { AttestationConfig } from './attestation-config.ts';
import type { Attested } from './attested.ts';
import { Challenges } from './challenges.ts';
import { JwtAttestor, signedPart } from './jwt.ts';
import { mapClaims } from './mapping.ts';
import { ShownTokens, type TokenBinding } from './shown-tokens.ts';
import { VaultTokenAttestor } from './vault-token.ts';
import { X509PopAttestor } from './x509pop.ts';

/** Attestations that wait for a Vault or an issuer at once. More are told to come back: a slow Vault must not fill our memory. */
const maxAtOnce = 64;
/** A stalled issuer or Vault costs no more than this; their own deadlines come first. */
const timeoutMs = 15_000;
const maxRaces = 8;

/**
 * Nodes that join by what they have already. Whatever the method, in this order: the node key is proven, the evidence is judged, mapped to a name and a
 * grant, and then in one transaction the token is bound to the key and the node is made. From there on a node is a node: it renews, comes back and is
 * revoked as one that had a join token.
 */
export class NodeAttestation {
  readonly #jwt: JwtAttestor | undefined;
  readonly #vault: VaultTokenAttestor | undefined;
  readonly #x509: X509PopAttestor | undefined;
  readonly #methods: readonly string[];
  readonly #parts: { readonly store: Store; readonly nodes: Nodes; readonly proofs: NodeProofs };
  readonly #challenges: Challenges;
  readonly #shown: ShownTokens;
  #atOnce = 0;

  /** @throws MeshError SLV-1002, SLV-1005: of the configuration */
  static async open(
    configs: readonly AttestationConfig[],
    parts: { store: Store; nodes: Nodes; proofs: NodeProofs; context: ProcessContext },
  ): Promise<NodeAttestation> {
    const attestation = new NodeAttestation(configs, parts);
    await attestation.#x509?.check();
    return attestation;
  }

  private constructor(
    configs: readonly AttestationConfig[],
    parts: { store: Store; nodes: Nodes; proofs: NodeProofs; context: ProcessContext },
  ) {
    const { context } = parts;
    this.#parts = parts;
    this.#methods = [...new Set(configs.map(({ method }) => method))];
    this.#challenges = new Challenges(context);
    this.#shown = new ShownTokens(parts.store, context.clock);
    const issuers = configs.filter((config) => config.method === 'jwt');
    const vault = configs.find((config) => config.method === 'vault-token');
    const x509 = configs.find((config) => config.method === 'x509pop');
    this.#jwt = issuers.length === 0 ? undefined : new JwtAttestor(issuers, context);
    this.#vault = vault === undefined ? undefined : new VaultTokenAttestor(vault, context);
    this.#x509 = x509 === undefined ? undefined : new X509PopAttestor(x509, this.#challenges, context.clock);
  }

  close(): void {
    this.#vault?.close();
  }

  /** @throws MeshError SLV-2112 where certificates attest nothing */
  challenge(): string {
    if (this.#x509 === undefined) throw this.#notConfigured('x509pop');
    return this.#challenges.make();
  }

  /**
   * Attests a node, and makes it one.
   * @throws MeshError SLV-2110 (node key), 2106, 2107, 2108, 2109, 2112, 2120, 2121, SLV-2160 when too many ask at once
   */
  async attest(request: AttestRequest, signal: AbortSignal): Promise<NodeRecord> {
    const key = readNodeKey(request.publicKey);
    const content = request.method === 'x509pop' ? request.statement : request.token;
    await this.#parts.proofs.verify(request.proof, key.key, { nodeId: undefined, content });
    if (this.#atOnce >= maxAtOnce) {
      throw new MeshError('SLV-2160', 'Too many nodes are being attested at once.', {
        detail: { retryAfterSeconds: 1 },
      });
    }
    this.#atOnce += 1;
    try {
      await this.#shown.sweep();
      return await this.#join(request, key, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]));
    } finally {
      this.#atOnce -= 1;
    }
  }

  async #join(request: AttestRequest, key: NodeKey, signal: AbortSignal): Promise<NodeRecord> {
    const { store, nodes } = this.#parts;
    const first = await this.#binding(request, key);
    if (request.method === 'vault-token' && request.wrapped && first?.known === true) {
      // It can be opened once only, and this key's was: the answer was lost.
      const joined = (await nodes.get(key.nodeId))?.node;
      if (joined !== undefined && joined.revokedAtMs === undefined) return joined;
    }
    const attested = await this.#judge(request, key, signal);
    const { method } = request;
    const by = { method, source: attested.source.slice(0, 256), subject: attested.subject.slice(0, 256) };
    const grant = { ...mapClaims(attested.mappings, attested.claims), by };
    for (let race = 0; race < maxRaces; race++) {
      const joining = await nodes.joining(key, grant);
      const binding = await this.#binding(request, key);
      const { boundUntilMs } = attested;
      const bound = binding === undefined || boundUntilMs === undefined ? undefined : binding.put(boundUntilMs);
      const { succeeded } = await store.txn({
        compare: [...joining.compare, ...(binding === undefined ? [] : [binding.compare])],
        success: [joining.put, ...(bound === undefined ? [] : [bound])],
      });
      if (succeeded) return joining.node;
      // Somebody was quicker: look again whether the token is still free.
    }
    throw new MeshError('SLV-3505', 'The node is being changed by many at once.');
  }

  #judge(request: AttestRequest, key: NodeKey, signal: AbortSignal): Promise<Attested> {
    switch (request.method) {
      case 'jwt':
        if (this.#jwt === undefined) throw this.#notConfigured(request.method);
        return this.#jwt.attest(request);
      case 'vault-token':
        if (this.#vault === undefined) throw this.#notConfigured(request.method);
        return this.#vault.attest(request, signal);
      case 'x509pop': {
        if (this.#x509 === undefined) throw this.#notConfigured(request.method);
        const spki = key.key.export({ format: 'der', type: 'spki' });
        return this.#x509.attest(request, { spkiSha256: createHash('sha256').update(spki).digest('hex') });
      }
    }
  }

  async #binding(request: AttestRequest, key: NodeKey): Promise<TokenBinding | undefined> {
    switch (request.method) {
      case 'jwt':
        return this.#shown.binding(signedPart(request.token), key.nodeId);
      case 'vault-token':
        return this.#shown.binding(request.token, key.nodeId);
      case 'x509pop':
        return undefined; // its challenge is good once
    }
  }

  #notConfigured(method: string): MeshError {
    const taken = ['join-token', ...this.#methods].join(', ');
    return new MeshError('SLV-2112', `This identity service does not attest by ${method}; it takes ${taken}.`);
  }
}
