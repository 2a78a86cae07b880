import { X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { readCertificateLink } from '#runtime/svid/certificate-link.ts';
import {
  appRole,
  caNames,
  crossIssuer,
  crossTtlSeconds,
  minimalPolicy,
  mountTtlSeconds,
  rootName,
  rootRequest,
  type SetupPlan,
  svidRole,
} from './setup-plan.ts';

/**
 * The setup as data: for each thing what is read, how it is judged, and the calls that make it. What `--dry-run` prints are these very calls.
 */

/** One write. `$name` in path or body stands for what an earlier call of the same step took from its answer. */
export interface SetupCall {
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
  /** What later calls need of the answer's `data`. */
  readonly takes?: (data: unknown) => Readonly<Record<string, string>>;
}

/** What stands in Vault, against what is wanted. */
export type Judgement =
  | { readonly kind: 'as-wanted'; readonly notes?: readonly string[] }
  | { readonly kind: 'absent' }
  | { readonly kind: 'differs'; readonly how: string }
  /** Nothing that may be changed here. */
  | { readonly kind: 'in-the-way'; readonly why: string };

type Found = Readonly<Record<string, unknown>>;

/** One thing that must be there. */
export interface SetupStep {
  readonly what: string;
  /** Path that shows it. */
  readonly read: string;
  judge(found: Found): Judgement;
  readonly calls: readonly SetupCall[];
  /** Fields that the server did not take, or does not know, by what it shows afterwards. */
  unstuck?(found: Found): readonly string[];
}

/** All steps, in order. */
export function setupSteps(plan: SetupPlan): readonly SetupStep[] {
  const { approleMount, approle, policy } = plan;
  const hcl = minimalPolicy(plan);
  const inVault = plan.mode === 'vault-leaf' ? leafSteps(plan) : [];
  return [
    mountStep(`PKI engine ${plan.rootMount}`, 'sys/mounts', plan.rootMount, 'pki', mountTtlSeconds.root),
    rootStep(plan),
    ...(plan.predecessor === undefined ? [] : [crossStep(plan, plan.predecessor)]),
    ...inVault,
    {
      what: `policy ${policy}`,
      read: `sys/policies/acl/${policy}`,
      judge: ({ policy: text }) => (text === hcl ? asWanted : { kind: 'differs', how: 'it says something else' }),
      calls: [{ path: `sys/policies/acl/${policy}`, body: { policy: hcl } }],
    },
    mountStep(`AppRole method ${approleMount}`, 'sys/auth', approleMount, 'approle', undefined),
    fieldsStep(`AppRole ${approle}`, `auth/${approleMount}/role/${approle}`, appRole(plan)),
  ];
}

const asWanted: Judgement = { kind: 'as-wanted' };

function leafSteps(plan: SetupPlan): readonly SetupStep[] {
  return [
    mountStep(`PKI engine ${plan.mount}`, 'sys/mounts', plan.mount, 'pki', mountTtlSeconds.issuing),
    issuingStep(plan),
    fieldsStep(`role ${plan.role}`, `${plan.mount}/roles/${plan.role}`, svidRole(plan)),
  ];
}

function mountStep(
  what: string,
  under: 'sys/mounts' | 'sys/auth',
  mount: string,
  type: string,
  maxLeaseSeconds: number | undefined,
): SetupStep {
  const path = `${under}/${mount}`;
  const config = maxLeaseSeconds === undefined ? {} : { config: { max_lease_ttl: `${maxLeaseSeconds}s` } };
  return {
    what,
    read: path,
    judge: (found) =>
      found['type'] === type ? asWanted : { kind: 'in-the-way', why: `${mount} is of type ${String(found['type'])}` },
    calls: [{ path, body: { type, ...config } }],
  };
}

function rootStep(plan: SetupPlan): SetupStep {
  const { rootMount, rootIssuer, rootExists, trustDomain } = plan;
  return {
    what: `root ${rootMount}/${rootIssuer}`,
    read: `${rootMount}/issuer/${rootIssuer}/json`,
    judge(found) {
      const { facts, pathLength } = readCa(found);
      if (!facts.isCa) return { kind: 'in-the-way', why: 'it is not a CA' };
      if (pathLength === 0) return { kind: 'in-the-way', why: 'its path length is 0: it can not sign an issuing CA' };
      const [name] = facts.uriSans;
      if (name !== undefined && name !== `spiffe://${trustDomain}`)
        return { kind: 'in-the-way', why: `it is the root of ${name}, wanted is spiffe://${trustDomain}` };
      const note = `it names no trust domain (SPIFFE says a CA should; ${rootExists ? 'it is yours' : 'it works'})`;
      return name === undefined ? { kind: 'as-wanted', notes: [note] } : asWanted;
    },
    calls: rootExists ? [] : [{ path: `${rootMount}/root/generate/internal`, body: rootRequest(plan) }],
  };
}

/**
 * The new root certified by the old one: same name and key, signed by the old key. `root/sign-self-issued` would do too, and asks for sudo; these calls do
 * not.
 */
function crossStep(plan: SetupPlan, predecessor: string): SetupStep {
  const { rootMount, rootIssuer } = plan;
  const name = crossIssuer(plan);
  return {
    what: `root ${rootMount}/${rootIssuer} certified by ${predecessor}`,
    read: `${rootMount}/issuer/${name}/json`,
    judge(found) {
      const { facts, subject, issuer } = readCa(found);
      return facts.isCa && !subject.equals(issuer)
        ? asWanted
        : { kind: 'in-the-way', why: `${name} is not a CA that another certified` };
    },
    calls: [
      {
        path: `${rootMount}/intermediate/cross-sign`,
        body: { key_ref: rootIssuer, ...rootName(plan), add_basic_constraints: true },
        takes: (data) => ({ csr: z.looseObject({ csr: z.string() }).parse(data).csr }),
      },
      {
        path: `${rootMount}/issuer/${predecessor}/sign-intermediate`,
        body: { csr: '$csr', use_csr_values: true, ttl: `${crossTtlSeconds}s`, format: 'pem' },
        takes: (data) => ({ cross: z.looseObject({ certificate: z.string() }).parse(data).certificate }),
      },
      {
        path: `${rootMount}/intermediate/set-signed`,
        body: { certificate: '$cross' },
        takes: (data) => ({ issuer: importedIssuer(data) }),
      },
      // It is there to be sent along, never to sign: what it signed would not outlive it.
      { path: `${rootMount}/issuer/$issuer`, body: { issuer_name: name, usage: 'read-only' } },
    ],
  };
}

function issuingStep(plan: SetupPlan): SetupStep {
  const { rootMount, rootIssuer, mount, issuer, issuingCaTtlSeconds } = plan;
  return {
    what: `issuing CA ${mount}/${issuer}`,
    read: `${mount}/issuer/${issuer}/json`,
    judge(found) {
      const { facts, pathLength } = readCa(found);
      if (facts.isCa && pathLength === 0) return asWanted;
      return { kind: 'in-the-way', why: 'it is not a CA that signs leaves only (path length 0)' };
    },
    calls: [
      {
        path: `${mount}/intermediate/generate/internal`,
        body: caNames(plan, `Issuing CA ${issuer}`),
        takes: (data) => ({ csr: z.looseObject({ csr: z.string() }).parse(data).csr }),
      },
      {
        path: `${rootMount}/root/sign-intermediate`,
        body: {
          csr: '$csr',
          use_csr_values: true,
          max_path_length: 0,
          issuer_ref: rootIssuer,
          ttl: `${issuingCaTtlSeconds}s`,
          exclude_cn_from_sans: true,
          format: 'pem',
        },
        takes: (data) => ({ chain: chainOf(data) }),
      },
      {
        path: `${mount}/intermediate/set-signed`,
        body: { certificate: '$chain' },
        takes: (data) => ({ issuer: importedIssuer(data) }),
      },
      {
        path: `${mount}/issuer/$issuer`,
        body: {
          issuer_name: issuer,
          leaf_not_after_behavior: 'err',
          usage: 'read-only,issuing-certificates,crl-signing,ocsp-signing',
        },
      },
      // Who signs by the default signs under the old root until all trust the new one.
      ...(plan.predecessor === undefined
        ? [{ path: `${mount}/config/issuers`, body: { default: issuer, default_follows_latest_issuer: false } }]
        : []),
    ],
  };
}

/** A thing that is a set of fields, written whole. */
function fieldsStep(what: string, path: string, fields: Readonly<Record<string, unknown>>): SetupStep {
  const differing = (found: Found, alsoUnknown: boolean): string[] =>
    Object.entries(fields)
      .filter(([name, wanted]) => (name in found || alsoUnknown) && !isSame(found[name], wanted))
      .map(([name, wanted]) => `${name} is ${shown(found[name])}, wanted ${shown(wanted)}`);
  return {
    what,
    read: path,
    judge(found) {
      const how = differing(found, false);
      return how.length === 0 ? asWanted : { kind: 'differs', how: how.join('; ') };
    },
    calls: [{ path, body: fields }],
    unstuck: (found) => differing(found, true),
  };
}

function readCa(found: Found): ReturnType<typeof readCertificateLink> {
  const { certificate } = z.looseObject({ certificate: z.string().max(65_536) }).parse(found);
  return readCertificateLink(new Uint8Array(new X509Certificate(certificate).raw));
}

/** The issuing CA and everything above it, so that Vault can show the whole chain. */
function chainOf(data: unknown): string {
  const signed = z.looseObject({ certificate: z.string(), ca_chain: z.array(z.string()).nullish() }).parse(data);
  return [signed.certificate, ...(signed.ca_chain ?? [])].map((pem) => pem.trim()).join('\n');
}

/** The imported issuer with a key is the new one; the others came along with the chain. */
function importedIssuer(data: unknown): string {
  const { mapping } = z.looseObject({ mapping: z.record(z.string(), z.string()) }).parse(data);
  return Object.keys(mapping).find((id) => mapping[id] !== '') ?? '';
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function shown(value: unknown): string {
  return value === undefined ? 'not known to this server' : JSON.stringify(value);
}
