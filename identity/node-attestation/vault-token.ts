import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { quote } from '#policies/quote.ts';
import type { Clock } from '#runtime/clock.ts';
import type { Logger } from '#runtime/logging.ts';
import { vaultFailureKind } from '../vault/failure.ts';
import { openVaultTransport, VaultError, type VaultTransport } from '../vault/transport.ts';
import { vaultPath } from '../vault/vault-path.ts';
import { claimsOfMappings, type VaultTokenConfig } from './attestation-config.ts';
import type { Attested } from './attested.ts';
import type { Claims } from './claims.ts';

const timeoutMs = 5_000;
/** A token that goes on being renewed is remembered as long as a node may be away. */
const leastBoundMs = 30 * 86_400_000;
const mostBoundMs = 400 * 86_400_000;

const texts = z.array(z.string().max(512)).max(256);
const lookupSchema = z.looseObject({
  accessor: z.string(),
  display_name: z.string().max(1_024),
  entity_id: z.string().max(128),
  path: z.string().max(1_024),
  policies: texts,
  identity_policies: texts.nullish(),
  meta: z.record(z.string(), z.string()).nullish(),
  ttl: z.number().int().min(0),
});
const entitySchema = z.looseObject({ name: z.string(), metadata: z.record(z.string(), z.string()).nullish() });
const unwrappedSchema = z.looseObject({ client_token: z.string().min(1).max(16_384) });

/**
 * Attestation by a Vault token. Identity asks Vault about the token *with that very token* (`auth/token/lookup-self`), so it needs no rights of its own there, and
 * a token that may not even ask about itself attests nothing. The token is held for the length of the calls and neither stored nor logged; behind a wrapping
 * token it is moreover revoked once it has been looked at, so that what the node was given is worth nothing but this one attestation.
 */
export class VaultTokenAttestor {
  readonly #config: VaultTokenConfig;
  readonly #vault: VaultTransport;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #needsEntity: boolean;

  /** @throws MeshError SLV-1002, SLV-1005 */
  constructor(config: VaultTokenConfig, world: { clock: Clock; log: Logger }) {
    const { address, namespace, caFile } = config;
    this.#config = config;
    this.#vault = openVaultTransport({
      address,
      timeoutMs,
      ...(namespace === undefined ? {} : { namespace }),
      ...(caFile === undefined ? {} : { caFile }),
    });
    this.#clock = world.clock;
    this.#log = world.log;
    this.#needsEntity = claimsOfMappings(config.mappings).some(({ members }) => members[0] === 'entity');
  }

  async attest(
    { token, wrapped }: { readonly token: string; readonly wrapped: boolean },
    signal: AbortSignal,
  ): Promise<Attested> {
    if (!wrapped && this.#config.wrappedOnly) {
      throw refused(
        'only a wrapped one is taken here: vault token create -wrap-ttl=5m …, --attest-vault-wrapped-token-file',
      );
    }
    try {
      return await (wrapped ? this.#attestWrapped(token, signal) : this.#attestBy(token, signal));
    } catch (error) {
      throw error instanceof VaultError ? this.#judged(error) : error;
    }
  }

  close(): void {
    this.#vault.close();
  }

  async #attestWrapped(wrappingToken: string, signal: AbortSignal): Promise<Attested> {
    const opened = await this.#vault
      .write('sys/wrapping/unwrap', {}, { token: wrappingToken, signal })
      .catch((error: unknown) => {
        if (!(error instanceof VaultError) || vaultFailureKind(error) === 'transient') throw error;
        // As Vault says of response wrapping: one that can't be opened any more was opened by somebody.
        throw refused('Vault can not unwrap it: it has expired, or somebody has opened it before');
      });
    // What `sys/wrapping/wrap` puts away has no `auth`: nobody can wrap a token of his choice.
    const inner = unwrappedSchema.safeParse(opened.auth);
    if (!inner.success) throw refused('there is no token behind the wrapping token');
    const { client_token: token } = inner.data;
    try {
      return await this.#attestBy(token, signal);
    } finally {
      await this.#vault.write('auth/token/revoke-self', {}, { token }).catch((error: unknown) => {
        const reason = error instanceof VaultError ? error.message : 'unknown';
        this.#log.warn({ reason }, 'a token that was unwrapped to attest a node was not revoked; it ends by itself');
      });
    }
  }

  async #attestBy(token: string, signal: AbortSignal): Promise<Attested> {
    const parsed = lookupSchema.safeParse((await this.#vault.read('auth/token/lookup-self', { token, signal })).data);
    if (!parsed.success) throw new VaultError('the answer to lookup-self is not of the known form');
    const found = parsed.data;
    const policies = [...new Set([...found.policies, ...(found.identity_policies ?? [])])];
    // It is as good as Vault itself: whoever sends it around has made a mistake that must not go unnoticed.
    if (policies.includes('root')) throw refused('it is a root token, which attests nothing');
    const claims: Claims = {
      display_name: found.display_name,
      entity_id: found.entity_id,
      path: found.path,
      policies,
      meta: found.meta ?? {},
      ...(this.#needsEntity ? { entity: await this.#entity(found.entity_id, token, signal) } : {}),
    };
    // 0: it never expires.
    const lifeMs = found.ttl === 0 ? mostBoundMs : Math.min(Math.max(found.ttl * 1_000, leastBoundMs), mostBoundMs);
    return {
      claims,
      mappings: this.#config.mappings,
      source: this.#config.address,
      subject: found.entity_id === '' ? found.display_name : `entity ${found.entity_id}`,
      boundUntilMs: this.#clock() + lifeMs,
    };
  }

  /** The entity behind the token, by the token's own right to read it. */
  async #entity(id: string, token: string, signal: AbortSignal): Promise<Claims> {
    if (id === '') return {};
    try {
      const path = vaultPath('identity', 'entity', 'id', id);
      const { name, metadata } = entitySchema.parse((await this.#vault.read(path, { token, signal })).data);
      return { name, metadata: metadata ?? {} };
    } catch (error) {
      if (error instanceof VaultError && vaultFailureKind(error) === 'transient') throw error;
      throw new MeshError(
        'SLV-2106',
        `The mappings ask for the entity ${quote(id)}, which the token may not read: give it the policy "default", or path "identity/entity/id/{{identity.entity.id}}" { capabilities = ["read"] }.`,
      );
    }
  }

  #judged(error: VaultError): MeshError {
    if (vaultFailureKind(error) === 'denied') {
      return refused('Vault does not know it (any more), or it may not look itself up (auth/token/lookup-self)');
    }
    return new MeshError('SLV-2108', `Vault can not be asked about the token: ${error.message}.`);
  }
}

function refused(flaw: string): MeshError {
  return new MeshError('SLV-2107', `The Vault token is refused: ${flaw}.`);
}
