import { generateKeyPairSync, randomBytes, type webcrypto } from 'node:crypto';
import { SignJWT } from 'jose';
import { readCertificateRequest } from '#identity/certificate-request.ts';
import { keyIdentifier, makeLeaf } from '#identity/leaf-template.ts';
import { readNodeKey } from '#identity/nodes.ts';
import { forgeRequestDer, goodKeyKinds, testKey } from '#identity/testing/forge-request.ts';
import { readSignedChain } from '#identity/vault/issuer.ts';
import { contextTag, DerReader, derTag } from '#policies/der.ts';
import { derExplicit, derSequence, derValue, toPem } from '#policies/der-writer.ts';
import type { ErrorCode } from '#policies/errors/catalogue.ts';
import { readJwks } from '#policies/jwks.ts';
import { readJwtAuthority } from '#policies/jwt-authority.ts';
import { readJwtSvid } from '#policies/jwt-svid.ts';
import { readToken } from '#policies/jwt-token.ts';
import { publicKeyJwk } from '#policies/public-key-jwk.ts';
import { parseSpiffeId } from '#policies/spiffe-id.ts';
import { parseStrictJson } from '#policies/strict-json.ts';
import { readCertificate, svidIdOf } from '#policies/svid-leaf.ts';
import { formatSpiffeBundle, parseSpiffeBundle } from '#policies/trust-bundle.ts';
import { signedBundleType } from '#policies/wire/signed-bundle.ts';
import { readCertificateLink } from '#runtime/svid/certificate-link.ts';
import { readNameConstraints } from '#runtime/svid/name-constraints.ts';
import { svidOfPem } from '#runtime/svid/node-state.ts';
import { openSignedBundle, readUnprovenBundle } from '#runtime/svid/open-bundle.ts';
import { certificatesOfPem } from '#runtime/svid/pem.ts';
import { signBundle } from '#runtime/svid/sign-bundle.ts';
import { verifyChain } from '#runtime/svid/verify-peer.ts';
import { makeCa, staticTrust } from '#test/mini-ca.ts';
import { consulReaders } from './consul-readers.ts';

/** Something that reads what others wrote. */
export interface FuzzedReader {
  readonly name: string;
  /** What it reads. */
  readonly samples: readonly Uint8Array[];
  /** All that it may refuse with. Anything else that it throws is a fault of ours. */
  readonly codes: readonly ErrorCode[];
  /** Of the ConsulErrors that it may refuse with. */
  readonly statuses?: readonly number[];
  read(bytes: Uint8Array): unknown;
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('utf8');
const pem = (label: string, der: Uint8Array): Uint8Array => Buffer.from(toPem(label, der));

/** Every reader of DER, PEM, JWK, JWS and bundles, and of what Consul's clients send, with samples of all that it accepts. */
export async function fuzzedReaders(): Promise<readonly FuzzedReader[]> {
  const ca = makeCa('mesh.test');
  const trust = staticTrust(ca.bundle);
  const nowMs = Date.now();
  const web = parseSpiffeId('spiffe://mesh.test/ns/default/dc/dc1/svc/web');
  const svid = ca.issue({ spiffeId: web, dns: ['web.mesh', 'web.example.com'], commonName: 'web' });
  const keys = goodKeyKinds.map((kind) => testKey(kind));
  const spkis = keys.map(({ publicKey }) => new Uint8Array(publicKey.export({ format: 'der', type: 'spki' })));
  const requests = keys.map((key) => forgeRequestDer({ key, uriSans: [web], dnsSans: ['web.mesh'], isCa: false }));
  const issuer = readCertificateLink(ca.certificate);
  const signer = { subjectDer: issuer.subject, keyId: keyIdentifier(issuer.facts.spkiDer), key: ca.privateKey };
  const leaves = await Promise.all(
    spkis.map((spkiDer) =>
      makeLeaf(signer, {
        spkiDer,
        spiffeId: web,
        dnsSans: ['web.mesh'],
        serial: randomBytes(16),
        notBeforeMs: nowMs - 60_000,
        notAfterMs: nowMs + 3_600_000,
      }),
    ),
  );
  const certificates = [...svid.chain, ...leaves, ca.root.certificate];
  const [leaf = new Uint8Array()] = svid.chain;
  const uri = derSequence(derValue(contextTag(6), Buffer.from('.mesh.test')));
  const constraints = derSequence(derExplicit(0, uri), derExplicit(1, uri));

  const jwt = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = jwt.publicKey.export({ format: 'jwk' }) as webcrypto.JsonWebKey;
  const token = await new SignJWT({ sub: web, aud: ['db'], exp: Math.floor(nowMs / 1_000) + 300 })
    .setProtectedHeader({ alg: 'ES256', kid: 'k1', typ: 'JWT' })
    .sign(jwt.privateKey);
  const authority = { kid: 'k1', kty: 'EC', crv: 'P-256', x: jwk.x, y: jwk.y } as const;
  const parsed = readJwtAuthority(authority);
  const bundle = { ...ca.bundle, jwtAuthorities: parsed === undefined ? [] : [parsed] };
  const bundleText = Buffer.from(JSON.stringify(formatSpiffeBundle(bundle)));
  const self = ca.issue({ spiffeId: 'spiffe://mesh.test/ns/default/dc/dc1/svc/selvedge-identity' });
  const signedBundle = Buffer.from(
    await signBundle({ bundle, revoked: { serials: ['aa'], spiffeIds: [web] }, svid: self, nowMs }),
  );

  return [
    ...consulReaders(),
    {
      name: 'DER',
      samples: [...certificates, ...requests],
      codes: ['SLV-5007'],
      read: (der) => walk(new DerReader(der)),
    },
    { name: 'certificate', samples: certificates, codes: ['SLV-5003'], read: readCertificate },
    { name: 'leaf', samples: [leaf, ...leaves], codes: ['SLV-5003'], read: (der) => svidIdOf(readCertificate(der)) },
    { name: 'certificate link', samples: certificates, codes: ['SLV-5003', 'SLV-5007'], read: readCertificateLink },
    {
      name: 'chain, damaged leaf',
      samples: [leaf],
      codes: ['SLV-2020'],
      read: (der) => verifyChain({ chain: [der, ...ca.chain], trust, nowMs }),
    },
    {
      name: 'chain, damaged signer',
      samples: ca.chain,
      codes: ['SLV-2020'],
      read: (der) => verifyChain({ chain: [leaf, der], trust, nowMs }),
    },
    {
      name: 'certificate request',
      samples: requests,
      codes: ['SLV-2130'],
      read: (der) => readCertificateRequest(toPem('CERTIFICATE REQUEST', der)),
    },
    {
      name: 'certificate request, PEM',
      samples: requests.map((der) => pem('CERTIFICATE REQUEST', der)),
      codes: ['SLV-2130'],
      read: (bytes) => readCertificateRequest(text(bytes)),
    },
    { name: 'public key', samples: spkis, codes: ['SLV-5007'], read: publicKeyJwk },
    { name: 'key identifier', samples: spkis, codes: ['SLV-5007'], read: keyIdentifier },
    { name: 'name constraints', samples: [constraints], codes: ['SLV-5007'], read: readNameConstraints },
    {
      name: 'node key',
      samples: [pem('PUBLIC KEY', spkis[0] ?? new Uint8Array())],
      codes: ['SLV-2110'],
      read: (bytes) => readNodeKey(text(bytes)),
    },
    {
      name: 'certificates, PEM',
      samples: [Buffer.from(svid.chainPem)],
      codes: ['SLV-5003'],
      read: (bytes) => certificatesOfPem(text(bytes)),
    },
    {
      name: 'SVID, PEM',
      samples: [Buffer.from(svid.chainPem)],
      codes: ['SLV-5003'],
      read: (bytes) => svidOfPem(text(bytes), svid.keyPem),
    },
    {
      name: "Vault's answer",
      samples: [Buffer.from(svid.chainPem)],
      codes: ['SLV-2142'],
      read: (bytes) => readSignedChain({ certificate: text(bytes), ca_chain: [text(bytes)] }),
    },
    {
      name: 'JWT authority',
      samples: [Buffer.from(JSON.stringify(authority))],
      codes: [],
      read: (bytes) => readJwtAuthority(json(bytes)),
    },
    {
      name: 'strict JSON',
      samples: [bundleText],
      codes: ['SLV-5009'],
      read: (bytes) => parseStrictJson(text(bytes)),
    },
    {
      name: 'bundle',
      samples: [bundleText],
      codes: ['SLV-5006'],
      read: (bytes) => parseSpiffeBundle(bundle.trustDomain, json(bytes)),
    },
    {
      name: 'bundle, damaged root',
      samples: [ca.root.certificate],
      codes: ['SLV-5006'],
      read(der) {
        const key = { use: 'x509-svid', kty: 'EC', x5c: [Buffer.from(der).toString('base64')] };
        return parseSpiffeBundle(bundle.trustDomain, { keys: [key] });
      },
    },
    {
      name: 'token of a request',
      samples: [Buffer.from(token)],
      codes: [],
      read: (bytes) => readToken(text(bytes), { issuer: undefined, audiences: ['db'], clockSkewMs: 0 }, nowMs),
    },
    {
      name: 'key set',
      samples: [Buffer.from(JSON.stringify({ keys: [authority, { ...authority, use: 'sig', alg: 'ES256' }] }))],
      codes: ['SLV-5010'],
      read: (bytes) => readJwks(text(bytes)),
    },
    {
      name: 'JWT-SVID',
      samples: [Buffer.from(token)],
      codes: ['SLV-2195'],
      read: (bytes) => readJwtSvid(text(bytes), { audience: 'db', nowMs }),
    },
    {
      name: 'JWT-SVID, damaged claims',
      samples: [Buffer.from(token.split('.')[1] ?? '', 'base64url')],
      codes: ['SLV-2195'],
      read(claims) {
        const [header, , signature] = token.split('.');
        const damaged = `${header}.${Buffer.from(claims).toString('base64url')}.${signature}`;
        return readJwtSvid(damaged, { audience: 'db', nowMs });
      },
    },
    {
      name: 'signed bundle',
      samples: [signedBundle],
      codes: ['SLV-2012'],
      read: (bytes) => openSignedBundle(text(bytes), bundle.trustDomain, trust, nowMs),
    },
    {
      name: 'signed bundle, damaged signer',
      samples: [certificatesOfPem(self.chainPem)[0] ?? new Uint8Array()],
      codes: ['SLV-2012'],
      read(der) {
        const header = JSON.stringify({
          alg: 'ES256',
          typ: signedBundleType,
          x5c: [Buffer.from(der).toString('base64')],
        });
        const [, payload, signature] = text(signedBundle).split('.');
        return readUnprovenBundle(`${Buffer.from(header).toString('base64url')}.${payload}.${signature}`);
      },
    },
    {
      name: 'bundle of the state directory',
      samples: [signedBundle],
      codes: ['SLV-2012'],
      read: (bytes) => readUnprovenBundle(text(bytes)),
    },
  ];
}

/** What JSON says, or nothing that any reader takes. */
function json(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(text(bytes));
  } catch {
    return undefined; // refused by JSON.parse before a reader sees it
  }
}

/** Reads all there is, as deep as it goes. */
function walk(at: DerReader): void {
  while (!at.atEnd) {
    const tag = at.nextTag ?? 0;
    if ((tag & 0x20) !== 0) walk(at.enter(tag));
    else if (tag === derTag.bitString) at.bitString();
    else if (tag === derTag.oid) at.oid();
    else at.readAny();
  }
}
