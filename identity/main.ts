import { join } from 'node:path';
import { toPem } from '#policies/der-writer.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import type { SpiffeId } from '#policies/spiffe-id.ts';
import { formatSpiffeBundle } from '#policies/trust-bundle.ts';
import { ensurePrivateDirectory, readFileBounded, writeFileAtomic } from '#runtime/atomic-file.ts';
import { openAuditLog } from '#runtime/audit/audit-log.ts';
import { serveHttp } from '#runtime/http-service.ts';
import type { Logger } from '#runtime/logging.ts';
import { createMetrics } from '#runtime/metrics.ts';
import { loadOrCreateOperatorToken } from '#runtime/operator-token.ts';
import { pause } from '#runtime/pause.ts';
import type { ProcessContext } from '#runtime/process-context.ts';
import { spkiPin } from '#runtime/svid/first-contact.ts';
import type { Store } from '#store/contract.ts';
import { Attestation } from './attestation.ts';
import type { IdentityEvent } from './audit-events.ts';
import { Federation } from './federation/federation.ts';
import { registerFederationMetrics } from './federation/federation-metrics.ts';
import { addFederationRoutes } from './federation/federation-routes.ts';
import { Relationships } from './federation/relationships.ts';
import { serveWebEndpoint } from './federation/web-endpoint.ts';
import { type CheckedConfig, checkConfig, defaultRates, type IdentityConfig } from './identity-config.ts';
import { registerIdentityMetrics } from './identity-metrics.ts';
import { Issuance } from './issuance.ts';
import { issueCounts } from './issue-counts.ts';
import { JoinTokens } from './join-tokens.ts';
import { jwtCounts } from './jwt/jwt-counts.ts';
import { JwtIssuance } from './jwt/jwt-issuance.ts';
import { addJwtRoutes } from './jwt/jwt-routes.ts';
import { PublishedKeys } from './jwt/published-keys.ts';
import { SigningKeys } from './jwt/signing-keys.ts';
import { NodeAttestation } from './node-attestation/node-attestation.ts';
import { NodeProofs } from './node-proof.ts';
import { Nodes } from './nodes.ts';
import { openSharedOperatorToken } from './operator-record.ts';
import { Operators, type OperatorTokenCheck } from './operators.ts';
import { openOwnSvid } from './own-svid.ts';
import { Presence } from './presence.ts';
import type { Admitted } from './processes/admission.ts';
import { FencedStore } from './processes/fenced-store.ts';
import { ProcessRoll } from './processes/process-roll.ts';
import { rateLimit } from './rate-limit.ts';
import { CrlPublication } from './revocation/crl-publication.ts';
import { Revocations } from './revocation/revocations.ts';
import { rotationDriver } from './rotation/open-rotation.ts';
import { createApp, type IdentityApp } from './routes/app.ts';
import { addAttestRoutes } from './routes/attest-routes.ts';
import { addCrlRoutes } from './routes/crl-routes.ts';
import { addNodeRoutes } from './routes/node-routes.ts';
import { addOperatorRoutes } from './routes/operator-routes.ts';
import { addPublicRoutes } from './routes/public-routes.ts';
import { addRevocationRoutes } from './routes/revocation-routes.ts';
import { addRotationRoutes } from './routes/rotation-routes.ts';
import { addSignedBundleRoute } from './routes/signed-bundle-route.ts';
import { addSuccessionRoute } from './routes/succession-route.ts';
import { HeldSvids } from './status/held-svids.ts';
import { RecordKeeping } from './status/record-keeping.ts';
import { ServiceHealth } from './status/service-health.ts';
import { WitnessedStore } from './status/witnessed-store.ts';
import { Succession } from './succession.ts';
import { openSucceedingCa } from './takeover/open-succeeding-ca.ts';
import { TrustPublication } from './trust-publication.ts';

export type { IdentityConfig } from './identity-config.ts';

/** A listening identity service. */
export interface RunningIdentity {
  /** `https://…`, or `http://…` in `dev`. */
  readonly url: string;
  readonly port: number;
  /** `sha256:HEX` over the SubjectPublicKeyInfo of each root: what `--ca-pin` takes. */
  readonly pins: readonly string[];
  /** URL of the bundle endpoint behind Web PKI, where there is one. */
  readonly federationUrl?: string;
  /** Absent in memory and in `dev`. */
  readonly operatorTokenPath?: string;
  /** The application, for callers in this process. */
  readonly app: IdentityApp;
  /** Drains and stops; the store is the caller's. */
  close(graceMs?: number): Promise<void>;
}

/** Requests are small: a CSR and a proof. */
const maxBodyBytes = 65_536;
const heldEveryMs = 60_000;

/**
 * Starts the identity service.
 *
 * @param opened the store, opened by the caller and outliving this
 * @param admitted the place among the processes that share it; absent: it is this one's alone
 * @throws MeshError SLV-1002 (configuration), SLV-1004 (address), SLV-1005 and SLV-2143 (files), SLV-2140, SLV-2141 and SLV-2144 (a CA that is needed)
 */
export async function startIdentity(
  config: IdentityConfig,
  context: ProcessContext,
  opened: Store,
  admitted?: Admitted,
): Promise<RunningIdentity> {
  await using cleanup = new AsyncDisposableStack();
  const checked = checkConfig(config);
  const { dataDir, open, host, port, trustDomain } = checked;
  const { clock, log } = context;
  const place = admitted?.place;
  const store = new WitnessedStore(place === undefined ? opened : new FencedStore(opened, place), clock);
  const isShared = place !== undefined;
  const confirm = place && (() => place.confirm());
  if (dataDir !== undefined) await ensurePrivateDirectory(dataDir);

  const auditPath = dataDir === undefined ? undefined : join(dataDir, 'audit.jsonl');
  const audit = await openAuditLog<IdentityEvent>(auditPath, context, { sync: checked.auditSync ?? false });
  cleanup.defer(() => audit.close());
  const backend = await openSucceedingCa({ config: checked, context, store, role: admitted?.role });
  cleanup.defer(() => backend.close());
  const left = checked.takeoverNow === true ? await backend.takeOverNow() : undefined;
  if (left !== undefined)
    await audit.append({ event: 'rotation-forced', target: 'root', state: left, by: 'configuration' });
  // What `--ca-file` takes. The private halves are in <dataDir>/ca, 0600.
  const writeRoots = async (): Promise<void> => {
    const rootsPem = backend.roots.map((der) => toPem('CERTIFICATE', der)).join('');
    if (dataDir !== undefined) await writeFileAtomic(join(dataDir, 'ca.pem'), rootsPem, 0o644);
  };
  await writeRoots();

  const nodes = new Nodes(store, clock);
  const published = isShared ? new PublishedKeys(store, clock) : undefined;
  const jwtKeys = await SigningKeys.open({ dataDir, audit, published, context });
  const relationships = await Relationships.load(store);
  const held = new HeldSvids(clock);
  held.restore(await nodes.list());
  const revocations = new Revocations(store, clock);
  await revocations.prune();
  const tokens = new JoinTokens(store, nodes, context);
  const proofs = new NodeProofs(clock);
  const presence = await Presence.open(store, context);
  const records = new RecordKeeping({ store, audit, presence, context });
  cleanup.use(keepUntilClosed((signal) => records.run(signal), log));
  const attestation = new Attestation({ nodes, proofs, presence, open });
  const trust = new TrustPublication({
    trustDomain,
    store,
    backend,
    nodes,
    revocations,
    context,
    isShared,
    also: {
      jwtAuthorities: () => jwtKeys.all(),
      async federated() {
        if (isShared) await relationships.reload();
        return relationships.bundles;
      },
    },
  });
  await trust.refresh();
  if (isShared) {
    cleanup.use(keepUntilClosed((signal) => trust.follow(signal), log));
    cleanup.use(keepUntilClosed((signal) => keepHeld(held, nodes, log, signal), log));
  }
  const metrics = createMetrics();
  const counts = issueCounts(metrics, backend);
  const isRevoked = (id: SpiffeId): boolean => trust.isRevokedId(id);
  const parts = { config: checked, backend, attestation, nodes, audit, counts, held, isRevoked, confirm, context };
  const issuance = new Issuance(parts);
  const own = await openOwnSvid({ issuance, trust, dataDir, context });
  cleanup.defer(() => own.close());
  // At every renewal, revocations of what has run out meanwhile are dropped.
  own.onChange(() => {
    trust.refresh().catch((err: unknown) => log.error({ err }, 'the trust bundle was not looked at anew'));
  });
  cleanup.use(keepUntilClosed((signal) => jwtKeys.run(() => trust.refresh(), signal), log));
  const jwtIssuance = new JwtIssuance({
    idOf: (service) => issuance.idOf(service),
    isRevoked,
    confirm,
    keys: jwtKeys,
    attestation,
    audit,
    counts: jwtCounts(metrics, counts),
    context,
  });
  const webRoots = await readWebRoots(checked.federation?.webRootsFile);
  const federation = new Federation({ relationships, trust, webRoots, audit, isShared, context });
  cleanup.use(keepUntilClosed((signal) => federation.run(signal), log));
  const succession = new Succession({ store, trust, own, context });
  const watched = { rotating: backend, trust, own, held, succession };
  const driver = rotationDriver({ config: checked, ...watched, audit, context, writeRoots });
  cleanup.use(keepUntilClosed((signal) => driver.run(signal), log));
  const roll = place && new ProcessRoll(opened, place, context);
  if (roll !== undefined) {
    await roll.look();
    cleanup.use(keepUntilClosed((signal) => roll.run(signal), log));
  }
  const health = new ServiceHealth({ backend, own, held, records, roll, clock });
  registerIdentityMetrics(metrics, { backend, health, audit });
  registerFederationMetrics(metrics, federation, clock);

  const pins = (): string[] => backend.roots.map((der) => `sha256:${spkiPin(der)}`);
  const token = open ? undefined : await operatorToken(checked, store, isShared);
  if (isShared && checked.replaceOperatorToken === true)
    await audit.append({ event: 'operator-token-replaced', by: 'configuration' });
  const operator = token === undefined ? undefined : new Operators(token, audit, context);
  const app = createApp(log, open);
  addPublicRoutes(app, { config: checked, backend, trust, health, pins, counts, metrics, version: '1' });
  const stopping = new AbortController();
  addSignedBundleRoute(app, { trust, own, stopping: stopping.signal });
  addSuccessionRoute(app, succession);
  addOperatorRoutes(app, { operator, tokens, nodes, held, trust, audit });
  addRevocationRoutes(app, { operator, revocations, nodes, held, trust, issuance, own, audit });
  const idOf = (service: string): SpiffeId => issuance.idOf(service);
  addCrlRoutes(app, new CrlPublication({ backend, nodes, revocations, trust, idOf, clock }));
  addRotationRoutes(app, { operator, driver });
  addFederationRoutes(app, { operator, federation });
  const rates = checked.rates ?? defaultRates;
  const joining = rateLimit('joining', rates.join, clock);
  const nodeAttestation = await NodeAttestation.open(checked.attestation ?? [], { store, nodes, proofs, context });
  cleanup.defer(() => nodeAttestation.close());
  addAttestRoutes(app, { config: checked, joining, attestation: nodeAttestation, trust, audit, counts });
  addNodeRoutes(app, { config: checked, joining, rates, tokens, proofs, issuance, trust, own, audit, counts, clock });
  addJwtRoutes(app, { issuance: jwtIssuance, rate: rates.issue, trust, own, clock });

  const endpoint = checked.federation?.endpoint;
  const bundle = (): string => JSON.stringify(formatSpiffeBundle(trust.bundle));
  const federated = endpoint === undefined ? undefined : await serveWebEndpoint({ ...endpoint, bundle, log });
  if (federated !== undefined) cleanup.defer(() => federated.close());
  const tls = open ? {} : { tls: { svid: own, trust } };
  const served = await serveHttp({ app, host, port, ...tls, log, clock, maxBodyBytes });
  log.info({ url: served.url, pins: pins(), trustDomain, backend: backend.kind }, 'identity service listening');
  if (open)
    log.warn({ url: served.url }, 'open: no TLS, no tokens, anybody on this host gets any SVID; for development only');

  const running = cleanup.move();
  return {
    url: served.url,
    port: served.port,
    get pins() {
      return pins();
    },
    ...(federated === undefined ? {} : { federationUrl: federated.url }),
    ...(token?.path === undefined ? {} : { operatorTokenPath: token.path }),
    app,
    async close(graceMs) {
      stopping.abort();
      await served.close(graceMs);
      await running.disposeAsync();
    },
  };
}

async function readWebRoots(path: string | undefined): Promise<string | undefined> {
  if (path === undefined) return undefined;
  const pem = await readFileBounded(path, 1_048_576);
  if (pem === undefined) throw new MeshError('SLV-1005', `There is no file ${path}.`, { detail: { path } });
  return pem.toString('utf8');
}

async function operatorToken(
  { dataDir, replaceOperatorToken = false }: CheckedConfig,
  store: Store,
  isShared: boolean,
): Promise<OperatorTokenCheck & { readonly path?: string }> {
  if (!isShared) return loadOrCreateOperatorToken(dataDir);
  return openSharedOperatorToken(dataDir, store, { replace: replaceOperatorToken });
}

/** What other processes issue is known a minute later: the time to an outage is reckoned from it. */
async function keepHeld(held: HeldSvids, nodes: Nodes, log: Logger, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await pause(heldEveryMs, signal);
    if (signal.aborted) return;
    await nodes.list().then(
      (all) => held.restore(all),
      (err: unknown) => log.warn({ err }, 'what other processes have issued is not known; trying again'),
    );
  }
}

/** Runs until disposed of. A fault of ours must not be a silent end. */
function keepUntilClosed(run: (signal: AbortSignal) => Promise<void>, log: Logger): AsyncDisposable {
  const closing = new AbortController();
  const running = run(closing.signal).catch((err: unknown) => log.fatal({ err }, 'work in the background has ended'));
  return {
    async [Symbol.asyncDispose]() {
      closing.abort();
      await running;
    },
  };
}
