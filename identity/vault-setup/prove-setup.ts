import { X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { parseSpiffeId } from '#policies/spiffe-id.ts';
import type { Clock } from '#runtime/clock.ts';
import { makeCsr } from '#runtime/svid/csr.ts';
import { generateKey } from '#runtime/svid/key-type.ts';
import { makeKeyPair } from '#runtime/svid/node-key.ts';
import { certifyIssuingCa } from '../backends/vault-issuing-ca.ts';
import { signLeafInVault } from '../backends/vault-sign-leaf.ts';
import { verifyIssuingCa } from '../backends/verify-issuing-ca.ts';
import { readCertificateRequest } from '../certificate-request.ts';
import { caErrorOf } from '../vault/failure.ts';
import { readIssuer } from '../vault/issuer.ts';
import { VaultError } from '../vault/transport.ts';
import { vaultPath } from '../vault/vault-path.ts';
import { verifyIssued } from '../verify-issued.ts';
import { call, capabilities, type VaultAdmin } from './apply-setup.ts';
import { forbiddenPaths, neededRights, type SetupPlan } from './setup-plan.ts';

const proofTtlSeconds = 3_600;
/** One of each algorithm; larger RSA keys cost a person seconds and show nothing more. */
const proofKeyTypes = ['ec-p256', 'ec-p384', 'ed25519', 'rsa-2048'] as const;
const secretSchema = z.looseObject({ secret_id: z.string(), secret_id_accessor: z.string() });
const grantSchema = z.looseObject({ client_token: z.string() });

/**
 * Shows with a token of the AppRole, not of the administrator, that the service will be able to do what it must, and nothing of what it must not.
 * Secret id and token of the proof are destroyed afterwards.
 *
 * @returns what was shown, a sentence each
 * @throws MeshError SLV-2146 naming what does not hold, SLV-2140 to SLV-2142 as Vault answers
 */
export async function proveSetup(admin: VaultAdmin, plan: SetupPlan, roleId: string, clock: Clock): Promise<string[]> {
  const approle = vaultPath('auth', plan.approleMount, 'role', plan.approle);
  const made = secretSchema.parse(await call(admin, { path: `${approle}/secret-id`, body: {} }));
  let token: string | undefined;
  try {
    token = await logIn(admin, plan, roleId, made.secret_id);
    return [
      await proveCapabilities(admin, plan, token),
      await proveSigning(admin, plan, token, clock),
      await proveRefusal(admin, plan, token),
    ];
  } finally {
    if (token !== undefined) await call(admin, { path: 'auth/token/revoke', body: { token } });
    const { secret_id_accessor: accessor } = made;
    await call(admin, { path: `${approle}/secret-id-accessor/destroy`, body: { secret_id_accessor: accessor } });
  }
}

async function logIn({ transport }: VaultAdmin, plan: SetupPlan, roleId: string, secretId: string): Promise<string> {
  const body = { role_id: roleId, secret_id: secretId };
  try {
    const reply = await transport.write(vaultPath('auth', plan.approleMount, 'login'), body, { secrets: [secretId] });
    return grantSchema.parse(reply.auth).client_token;
  } catch (error) {
    throw caErrorOf(error, 'take the login of the AppRole just made');
  }
}

/** Granted against needed, both ways. */
async function proveCapabilities(admin: VaultAdmin, plan: SetupPlan, token: string): Promise<string> {
  const needed = neededRights(plan).map((right) => ({ ...right, path: right.path.replace('+', plan.issuer) }));
  const forbidden = forbiddenPaths(plan);
  const paths = [...needed.map(({ path }) => path), ...forbidden];
  const granted = await capabilities(admin, 'sys/capabilities', { token, paths });
  const missing = needed.filter(({ path, capability }) => !granted(path).includes(capability));
  const excess = forbidden.filter((path) => granted(path).some((capability) => capability !== 'deny'));
  if (missing.length === 0 && excess.length === 0)
    return `the restricted token may do what is needed (${needed.length} paths) and none of ${forbidden.length} ways around it`;
  const faults = [
    ...missing.map(({ path, capability }) => `lacks ${capability} on ${path}`),
    ...excess.map((path) => `may ${granted(path).join(', ')} on ${path}, which is too much`),
  ];
  throw new MeshError('SLV-2146', `The restricted token ${faults.join('; ')}.`);
}

async function proveSigning(admin: VaultAdmin, plan: SetupPlan, token: string, clock: Clock): Promise<string> {
  const { transport } = admin;
  const { rootMount, rootIssuer, trustDomain } = plan;
  const { predecessor } = plan;
  const roots = [await rootOf(admin, plan)];
  const formerRoots =
    predecessor === undefined ? undefined : [await rootOf(admin, { ...plan, rootIssuer: predecessor })];
  const also = predecessor === undefined ? '' : `, also by who knows only ${predecessor}`;
  if (plan.mode === 'vault-intermediate') {
    const session = { call: <T>(work: (token: string) => Promise<T>) => work(token), close: () => undefined };
    const order = { rootMount, issuerRef: rootIssuer, trustDomain, roots, ttlSeconds: proofTtlSeconds };
    const { authority } = await certifyIssuingCa({ transport, session }, order, clock, new AbortController().signal);
    if (formerRoots !== undefined)
      await verifyIssuingCa(authority, {
        trustDomain,
        roots: formerRoots,
        ttlSeconds: proofTtlSeconds,
        nowMs: clock(),
      });
    return `with it, Vault certified an issuing CA, and a leaf under that is accepted${also}`;
  }
  const path = vaultPath(plan.mount, 'issuer', plan.issuer, 'sign', plan.role);
  const names = plan.dnsNames.map((rule) => (rule.kind === 'name' ? rule.name : `selvedge-setup.${rule.suffix}`));
  for (const type of proofKeyTypes) {
    const order = {
      request: await readCertificateRequest(makeCsr(await generateKey(type))),
      spiffeId: parseSpiffeId(`spiffe://${trustDomain}/selvedge/setup`),
      dnsSans: [...new Set(names)],
      ttlSeconds: proofTtlSeconds,
    };
    try {
      const signed = await signLeafInVault(transport, path, order, { token });
      await verifyIssued(signed, order, roots, clock());
      if (formerRoots !== undefined) await verifyIssued(signed, order, formerRoots, clock());
    } catch (error) {
      throw caErrorOf(error, `sign a certificate for a key of ${type} with the restricted token`);
    }
  }
  const named = names.length === 0 ? '' : `, with ${names.length} DNS name${names.length === 1 ? '' : 's'}`;
  return `with it, Vault signed SVIDs that are accepted${also}, for keys of ${proofKeyTypes.join(', ')}${named}`;
}

/** The root above the issuer (the issuer itself unless it is an intermediate), DER. Throws MeshError SLV-2146, VaultError. */
export async function rootOf({ transport }: VaultAdmin, { rootMount, rootIssuer }: SetupPlan): Promise<Uint8Array> {
  const chain = await readIssuer(transport, vaultPath(rootMount, 'issuer', rootIssuer, 'json'));
  const root = chain.find((der) => {
    const x509 = new X509Certificate(der);
    return x509.checkIssued(x509) && x509.verify(x509.publicKey);
  });
  if (root === undefined) throw new MeshError('SLV-2146', 'The issuer does not chain to a root that Vault knows.');
  return root;
}

async function proveRefusal({ transport }: VaultAdmin, plan: SetupPlan, token: string): Promise<string> {
  const mount = plan.mode === 'vault-leaf' ? plan.mount : plan.rootMount;
  const path = vaultPath(mount, 'sign-verbatim');
  const refused = await transport.write(path, { csr: makeCsr(makeKeyPair()) }, { token }).then(
    () => false,
    (error: unknown) => {
      if (error instanceof VaultError && error.status === 403) return true;
      throw caErrorOf(error, `answer to ${path} as expected`);
    },
  );
  if (!refused) throw new MeshError('SLV-2146', `The restricted token could use ${path}: any name, any usage.`);
  return `with it, ${path} was refused`;
}
