import assert from 'node:assert/strict';
import { createPublicKey, verify } from 'node:crypto';
import { Hono } from 'hono';
import { compactVerify } from 'jose';
import { derTag, openDer } from '#policies/der.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { formatSpiffeBundle, type TrustBundle } from '#policies/trust-bundle.ts';
import { issueSchema, joinSchema, nodeProofHeader, nodeProofSchema } from '#policies/wire/identity-api.ts';
import { successionPath } from '#policies/wire/succession.ts';
import { type MiniCa, makeCa, type Recipe, staticTrust } from '#test/mini-ca.ts';
import type { ServedHttp } from '../../http-server.ts';
import { type PeerEnv, serveHttp } from '../../http-service.ts';
import { createLogger } from '../../logging.ts';
import { problemResponse } from '../../problem.ts';
import { spkiPin } from '../first-contact.ts';
import { sha256Hex } from '../node-proof.ts';
import { signBundle } from '../sign-bundle.ts';
import { signSuccession } from '../sign-succession.ts';
import { type SvidHolder, svidHolder } from '../svid.ts';

const log = createLogger({ process: 'test', level: 'silent' });

/** The ID of a service of `mesh.test`, `dc1`. */
export const id = (service: string): string => `spiffe://mesh.test/ns/default/dc/dc1/svc/${service}`;
/** The one join token that the service below accepts. */
export const goodToken = 'join-token-0123456789';

/** What an identity service is to a node, over a real server: contract of policies/wire/identity-api.ts, kept in memory. */
export class TestIdentity {
  ca: MiniCa;
  readonly svid: SvidHolder;
  /** Every body and header value that came in: what a server that should not have been trusted would know. */
  readonly received: string[] = [];
  readonly issued: { service: string; peer: string | undefined; proven: boolean }[] = [];
  bundle: TrustBundle;
  lifetimeMs = 60_000;
  /** Authorities whose SVIDs are to be renewed at once. */
  tainted: readonly string[] = [];
  /** Makes the next SVIDs wrong. */
  twist: Recipe & { spiffeId?: string } = {};
  failWith: number | undefined;
  /** Answers the next request for an SVID with 429 and this Retry-After, in seconds; once. */
  busyForSeconds: number | undefined;
  /** Requests for SVIDs, also those that were answered 429. */
  asked = 0;
  /** What it serves as the succession of its roots. */
  steps: readonly string[] = [];
  #service: ServedHttp | undefined;
  #nodeKey: string | undefined;
  readonly #plain: boolean;

  constructor(options: { plain?: boolean; serverId?: string } = {}) {
    this.#plain = options.plain ?? false;
    this.ca = makeCa('mesh.test');
    this.bundle = this.ca.bundle;
    this.svid = svidHolder(this.ca.issue({ spiffeId: options.serverId ?? id('selvedge-identity') }));
  }

  get url(): string {
    return this.#service?.url ?? '';
  }

  get pin(): string {
    return `sha256:${spkiPin(this.ca.root.certificate)}`;
  }

  async start(port = 0): Promise<this> {
    const tls = this.#plain ? {} : { tls: { svid: this.svid, trust: staticTrust(this.bundle) } };
    this.#service = await serveHttp({ app: this.#app(), host: '127.0.0.1', port, log, clock: Date.now, ...tls });
    return this;
  }

  /** Another root, at once: all that was signed is of the old one. @param step whether a step to it is served */
  async replaceRoot(step: boolean): Promise<void> {
    const svid = this.svid.current;
    assert.ok(svid !== undefined);
    this.ca = makeCa('mesh.test');
    this.bundle = { ...this.ca.bundle, sequence: this.bundle.sequence + 1 };
    if (step) this.steps = [...this.steps, await signSuccession({ bundle: this.bundle, svid, nowMs: Date.now() })];
    this.svid.set(this.ca.issue({ spiffeId: id('selvedge-identity') }));
  }

  async stop(): Promise<number> {
    const port = this.#service?.port ?? 0;
    await this.#service?.close(0);
    return port;
  }

  signed(): Promise<string> {
    const svid = this.svid.current;
    assert.ok(svid !== undefined);
    const revoked = { serials: [], spiffeIds: [] };
    return signBundle({ bundle: this.bundle, revoked, tainted: this.tainted, svid, nowMs: Date.now() });
  }

  #app() {
    const app = new Hono<{ Bindings: PeerEnv }>();
    app.use(async (c, next) => {
      this.received.push(await c.req.raw.clone().text(), ...Object.values(c.req.header()));
      if (this.failWith !== undefined) return c.text('down', 503);
      return next();
    });
    app.get('/v1/identity/bundle', (c) => c.json(formatSpiffeBundle(this.bundle)));
    app.get('/v1/identity/bundle/signed', async (c) => c.json({ jws: await this.signed() }));
    app.get(successionPath, (c) => c.json({ steps: [...this.steps] }));
    app.post('/v1/identity/join', async (c) => {
      const { token, publicKey, proof } = joinSchema.parse(await c.req.json());
      const { payload } = await compactVerify(proof, createPublicKey(publicKey));
      const claims = nodeProofSchema.parse(JSON.parse(Buffer.from(payload).toString()));
      assert.deepEqual([claims.hash, claims.sub], [sha256Hex(token), undefined]);
      if (token !== goodToken) throw new MeshError('SLV-2101', 'Nobody knows this token.');
      if (this.#nodeKey === publicKey)
        throw new MeshError('SLV-2103', 'Already joined.', { detail: { nodeId: 'node-1' } });
      if (this.#nodeKey !== undefined) throw new MeshError('SLV-2102', 'Redeemed by another.');
      this.#nodeKey = publicKey;
      return c.json({ nodeId: 'node-1', trustDomain: 'mesh.test', datacenter: 'dc1', services: ['web', 'web-*'] });
    });
    app.post('/v1/identity/svids', async (c) => {
      this.asked += 1;
      const busyForSeconds = this.busyForSeconds;
      this.busyForSeconds = undefined;
      if (busyForSeconds !== undefined) return c.text('busy', 429, { 'retry-after': String(busyForSeconds) });
      const body = await c.req.text();
      const { service, csr } = issueSchema.parse(JSON.parse(body));
      const proven = await this.#isProven(c.req.header(nodeProofHeader), body);
      if (!this.#plain && !proven) throw new MeshError('SLV-2110', 'No proof.');
      if (!service.startsWith('web')) throw new MeshError('SLV-2120', 'Not in the grant.');
      this.issued.push({ service, peer: c.env.peer?.spiffeId, proven });
      const publicKey = keyOfCsr(csr);
      const notAfterMs = Date.now() + this.lifetimeMs;
      const svid = this.ca.issue({ spiffeId: id(service), keys: { publicKey }, notAfterMs, ...this.twist });
      return c.json({
        spiffeId: svid.spiffeId,
        serial: svid.serialHex,
        chain: svid.chainPem,
        notBefore: new Date(svid.notBeforeMs).toISOString(),
        notAfter: new Date(svid.notAfterMs).toISOString(),
        bundle: await this.signed(),
      });
    });
    app.onError((error, c) => problemResponse(error, log, c.req.path));
    return app;
  }

  async #isProven(proof: string | undefined, body: string): Promise<boolean> {
    if (proof === undefined || this.#nodeKey === undefined) return false;
    const { payload } = await compactVerify(proof, createPublicKey(this.#nodeKey));
    const claims = nodeProofSchema.parse(JSON.parse(Buffer.from(payload).toString()));
    return claims.sub === 'node-1' && claims.hash === sha256Hex(body);
  }
}

/** Checks the request as OpenSSL would, and gives its key. */
function keyOfCsr(pem: string) {
  const request = openDer(Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64'));
  const info = request.readWhole(derTag.sequence);
  request.read(derTag.sequence);
  const signature = request.bitString().bytes;
  const fields = openDer(info);
  fields.integerBytes();
  fields.read(derTag.sequence);
  const key = createPublicKey({ key: Buffer.from(fields.readWhole(derTag.sequence)), format: 'der', type: 'spki' });
  assert.ok(verify('sha256', info, key, signature), 'the CSR is signed by its own key');
  return key;
}
