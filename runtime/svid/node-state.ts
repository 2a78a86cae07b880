import { join } from 'node:path';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { readCertificate, svidIdOf } from '#policies/svid-leaf.ts';
import { ensurePrivateDirectory, readFileBounded, writeFileAtomic } from '../atomic-file.ts';
import { type KeyPair, loadOrCreateNodeKey, makeKeyPair } from './node-key.ts';
import { type OpenedBundle, readUnprovenBundle } from './open-bundle.ts';
import { certificatesOfPem } from './pem.ts';
import type { Svid } from './svid.ts';

/** An SVID and when it was obtained: its renewal is reckoned from there, not from its back-dated notBefore. */
export interface ObtainedSvid {
  readonly svid: Svid;
  readonly obtainedAtMs: number;
}

/**
 * What a node keeps across restarts: `node.key`, `node.json` (its id), `trust.jws` (the signed bundle in use) and `svid-<service>.json` for each
 * service, all 0600 in a 0700 directory, each replaced atomically. Files that cannot be read are SLV-1005, never ignored.
 */
export interface NodeState {
  readonly key: KeyPair;
  loadNodeId(): Promise<string | undefined>;
  saveNodeId(nodeId: string): Promise<void>;
  loadTrust(): Promise<OpenedBundle | undefined>;
  saveTrust(jws: string): Promise<void>;
  loadSvid(service: string): Promise<ObtainedSvid | undefined>;
  saveSvid(service: string, obtained: ObtainedSvid): Promise<void>;
}

const nodeSchema = z.object({ nodeId: z.string().min(1).max(128) });
const svidSchema = z.object({ chainPem: z.string(), keyPem: z.string(), obtainedAtMs: z.number() });
const maxTrustBytes = 4 * 1024 * 1024;
const maxSvidBytes = 262_144;

/** @param directory undefined: nothing is kept, and the node's key lives as long as the process */
export async function openNodeState(directory: string | undefined): Promise<NodeState> {
  if (directory === undefined) return memoryState();
  await ensurePrivateDirectory(directory);
  const key = loadOrCreateNodeKey(join(directory, 'node.key'));
  const nodeFile = join(directory, 'node.json');
  const trustFile = join(directory, 'trust.jws');
  // Service names are checked where configuration enters (parseServiceName): no separator, no leading dot.
  const svidFile = (service: string) => join(directory, `svid-${service}.json`);
  return {
    key,
    loadNodeId: async () => (await readJson(nodeFile, 4_096, nodeSchema))?.nodeId,
    saveNodeId: (nodeId) => writeFileAtomic(nodeFile, JSON.stringify({ nodeId })),
    async loadTrust() {
      const jws = await readFileBounded(trustFile, maxTrustBytes);
      return jws === undefined ? undefined : readUnprovenBundle(jws.toString('utf8'));
    },
    saveTrust: (jws) => writeFileAtomic(trustFile, jws),
    async loadSvid(service) {
      const stored = await readJson(svidFile(service), maxSvidBytes, svidSchema);
      if (stored === undefined) return undefined;
      return { svid: svidOfPem(stored.chainPem, stored.keyPem), obtainedAtMs: stored.obtainedAtMs };
    },
    saveSvid: (service, { svid, obtainedAtMs }) =>
      writeFileAtomic(
        svidFile(service),
        JSON.stringify({ chainPem: svid.chainPem, keyPem: svid.keyPem, obtainedAtMs }),
      ),
  };
}

/**
 * An SVID from its PEM parts. Its leaf keeps the rules of SPIFFE; who signed it, and whether it is still valid, is not looked at.
 *
 * @throws MeshError SLV-5003
 */
export function svidOfPem(chainPem: string, keyPem: string): Svid {
  const facts = readCertificate(certificatesOfPem(chainPem)[0] ?? new Uint8Array());
  const { notBeforeMs, notAfterMs, serialHex } = facts;
  return { spiffeId: svidIdOf(facts), chainPem, keyPem, notBeforeMs, notAfterMs, serialHex };
}

async function readJson<T>(path: string, maxBytes: number, schema: z.ZodType<T>): Promise<T | undefined> {
  const content = await readFileBounded(path, maxBytes);
  if (content === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(content.toString('utf8')));
  } catch (cause) {
    throw new MeshError('SLV-1005', `${path} does not hold what was written there; delete it to start afresh.`, {
      detail: { path },
      cause,
    });
  }
}

function memoryState(): NodeState {
  const nothing = async () => undefined;
  return {
    key: makeKeyPair(),
    loadNodeId: nothing,
    saveNodeId: nothing,
    loadTrust: nothing,
    saveTrust: nothing,
    loadSvid: nothing,
    saveSvid: nothing,
  };
}
