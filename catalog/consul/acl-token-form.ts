import { createHash } from 'node:crypto';
import { z } from 'zod';
import { ConsulError } from '#policies/consul/consul-error.ts';
import { durationMsSchema } from '#policies/consul/go-duration.ts';
import { decodeBody } from '#policies/consul/go-json.ts';
import { quote } from '#policies/quote.ts';
import { formatTokenRole, parseTokenRole, readTokenRole, type TokenRole } from '#policies/token-role.ts';
import type { StoredToken } from '../state/tokens.ts';
import { maxDescriptionLength, maxTokenRoles, type TokenRequest } from '../tokens/plan.ts';

/** A policy of Consul's that there is in every one of them. */
interface BuiltIn {
  readonly ID: string;
  readonly Name: string;
}
const management: BuiltIn = { ID: '00000000-0000-0000-0000-000000000001', Name: 'global-management' };
const readOnly: BuiltIn = { ID: '00000000-0000-0000-0000-000000000002', Name: 'builtin/global-read-only' };

/** What Consul shows in the place of a secret that it does not show; here they are not known. */
const hiddenSecret = '<hidden>';

const linkSchema = z.object({ ID: z.string().max(256).default(''), Name: z.string().max(256).default('') });
const serviceIdentitySchema = z.object({
  ServiceName: z.string().max(256).default(''),
  Datacenters: z.array(z.string().max(128)).max(16).nullish(),
});
const others = z.array(z.unknown()).max(1_024).nullish();
/** Body of PUT /v1/acl/token. */
const tokenSchema = z.object({
  AccessorID: z.string().max(128).default(''),
  SecretID: z.string().max(512).default(''),
  Description: z.string().max(maxDescriptionLength).default(''),
  Policies: z.array(linkSchema).max(maxTokenRoles).nullish(),
  ServiceIdentities: z.array(serviceIdentitySchema).max(maxTokenRoles).nullish(),
  Roles: others,
  NodeIdentities: others,
  TemplatedPolicies: others,
  ExpirationTTL: durationMsSchema.optional(),
  ExpirationTime: z.iso.datetime({ offset: true }).nullish(),
});

/**
 * Consul's token as one of ours. Its built-in policies are the operator and the reader, a service identity registers that service; a policy that is named as a
 * role (`intentions:billing-*`) is that role, since here each role is a policy.
 * @throws ConsulError 400, and 501 for what has no counterpart
 */
export function parseAclToken(body: Uint8Array, datacenter: string, nowMs: number): TokenRequest {
  const token = decodeBody(tokenSchema, body, { failure: 'Token decoding failed' });
  const { Policies, ServiceIdentities, Roles, NodeIdentities, TemplatedPolicies, ExpirationTTL, ExpirationTime } =
    token;
  if ([Roles, NodeIdentities, TemplatedPolicies].some((list) => (list?.length ?? 0) > 0)) {
    throw new ConsulError(
      501,
      'Roles, NodeIdentities and TemplatedPolicies are not offered: docs/tokens.md says what a token may be',
    );
  }
  if (token.AccessorID !== '' || token.SecretID !== '') {
    throw new ConsulError(501, 'AccessorID and SecretID can not be chosen: the catalog makes both');
  }
  const roles = [
    ...(Policies ?? []).map(roleOfPolicy),
    ...(ServiceIdentities ?? []).map((identity) => roleOfIdentity(identity, datacenter)),
  ];
  if (roles.length === 0) throw new ConsulError(400, 'Invalid Token: it has neither policies nor service identities');
  if (roles.length > maxTokenRoles)
    throw new ConsulError(400, `Invalid Token: more than ${maxTokenRoles} policies and identities`);
  if (ExpirationTTL && ExpirationTime)
    throw new ConsulError(400, 'Token Expiration TTL and Expiration Time cannot both be set');
  const expiresAtMs = ExpirationTime ? Date.parse(ExpirationTime) : ExpirationTTL ? nowMs + ExpirationTTL : undefined;
  if (expiresAtMs !== undefined && expiresAtMs <= nowMs)
    throw new ConsulError(400, 'Invalid Token: ExpirationTime is not in the future');
  if (expiresAtMs !== undefined && !(expiresAtMs <= 8.64e15))
    throw new ConsulError(400, 'Invalid Token: it would expire too late');
  return { roles, description: token.Description, nowMs, expiresAtMs };
}

/** @param secret only for who has just presented it, or made it */
export function aclTokenView({ record, roles, createIndex, modifyIndex }: StoredToken, secret: string = hiddenSecret) {
  const services = roles.flatMap((role) => (isIdentity(role) ? role.services.exact : []));
  const policies = roles.filter((role) => !isIdentity(role)).map(policyOfRole);
  const hash = createHash('sha256')
    .update(JSON.stringify([record.Description, record.Roles]))
    .digest('base64');
  return {
    AccessorID: record.Accessor,
    SecretID: secret,
    Description: record.Description,
    ...(policies.length === 0 ? {} : { Policies: policies }),
    ...(services.length === 0 ? {} : { ServiceIdentities: services.map((ServiceName) => ({ ServiceName })) }),
    Local: false,
    ...(record.ExpiresAtMs === undefined ? {} : { ExpirationTime: new Date(record.ExpiresAtMs).toISOString() }),
    CreateTime: new Date(record.CreatedAtMs).toISOString(),
    Hash: hash,
    CreateIndex: createIndex,
    ModifyIndex: modifyIndex,
  };
}

/** The operator token of a data directory, which is in no store. */
export const operatorFileRecord: StoredToken = {
  record: {
    Accessor: '00000000-0000-0000-0000-000000000003',
    SecretHash: '',
    Roles: ['operator'],
    Description: 'operator.token in the data directory of this catalog',
    CreatedBy: 'catalog',
    CreatedAtMs: 0,
  },
  roles: [{ kind: 'operator' }],
  createIndex: 0,
  modifyIndex: 0,
};

function isIdentity(role: TokenRole): role is { kind: 'service'; services: { exact: string } } {
  return role.kind === 'service' && 'exact' in role.services;
}

function policyOfRole(role: TokenRole): BuiltIn {
  if (role.kind === 'operator') return management;
  if (role.kind === 'reader') return readOnly;
  const Name = formatTokenRole(role);
  const hex = createHash('sha256').update(`selvedge role ${Name}`).digest('hex');
  return {
    ID: `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`,
    Name,
  };
}

function roleOfPolicy({ ID, Name }: BuiltIn): TokenRole {
  if (ID === management.ID || (ID === '' && Name === management.Name)) return { kind: 'operator' };
  if (ID === readOnly.ID || (ID === '' && Name === readOnly.Name)) return { kind: 'reader' };
  const role = ID === '' ? readTokenRole(Name) : undefined;
  if (role !== undefined) return role;
  throw new ConsulError(
    501,
    `The policy ${quote(Name || ID)} is not offered: there are ${management.Name}, ${readOnly.Name}, and by name intentions:… and service:… (docs/tokens.md)`,
  );
}

function roleOfIdentity(
  { ServiceName, Datacenters }: z.infer<typeof serviceIdentitySchema>,
  datacenter: string,
): TokenRole {
  if (Datacenters && Datacenters.length > 0 && !Datacenters.includes(datacenter)) {
    throw new ConsulError(400, `Invalid Token: a service identity is not for this datacenter (${datacenter})`);
  }
  if (ServiceName.includes('*') || readTokenRole(`service:${ServiceName}`) === undefined) {
    throw new ConsulError(400, `Invalid Token: service identity ${quote(ServiceName)} has an invalid name`);
  }
  return parseTokenRole(`service:${ServiceName}`);
}
