import type { Command } from 'commander';
import { z } from 'zod';
import { parseServiceName } from '#policies/service-name.ts';
import {
  descriptionSchema,
  grantPatternSchema,
  joinTokenSchema,
  joinTokenTtl,
  nodeSchema,
} from '#policies/wire/identity-api.ts';
import { durationWithin } from '#runtime/option-kinds.ts';
import { identityClientOptions } from '../command-options.ts';
import { fieldOf } from '../contract-option.ts';
import { defineCommand } from '../define-command.ts';
import { printJson, printRows, say } from '../output.ts';
import { defineBackup } from './identity-backup.ts';
import { identityClient as client, outputOption as output } from './identity-client.ts';
import { defineFederation } from './identity-federation.ts';
import { defineRevocation } from './identity-revocation.ts';
import { defineRotation } from './identity-rotation.ts';
import { defineStatus } from './identity-status.ts';
import { defineVaultSetup } from './vault-setup.ts';

/** `selvedge identity status`, `… join-token create|list|delete`, `… node list|show|grant|revoke|readmit`, rotation, revocation, federation and `vault-setup`. */
export function defineIdentityCommands(program: Command): void {
  const identity = program.command('identity').description('certificates, join tokens, nodes');
  defineStatus(identity);
  defineJoinTokens(identity);
  defineNodes(identity);
  defineRotation(identity);
  defineRevocation(identity);
  defineFederation(identity);
  defineVaultSetup(identity);
  defineBackup(identity);
}

const descriptionOf = fieldOf(descriptionSchema);
const grantedService = {
  parse: fieldOf(grantPatternSchema),
  placeholder: 'name',
  repeatable: true,
  required: true,
  description: 'service that the node may be; one trailing * stands for any ending',
} as const;

function defineJoinTokens(identity: Command): void {
  const joinToken = identity.command('join-token').description('one-time tokens with which nodes join');
  defineCommand(joinToken, {
    name: 'create',
    summary: 'make a token; it is printed once, on standard output, and redeemable once',
    options: {
      ...identityClientOptions,
      service: grantedService,
      node: { parse: parseServiceName, placeholder: 'name', description: 'the only node that may redeem it' },
      ttl: {
        parse: durationWithin(joinTokenTtl.least * 1_000, joinTokenTtl.most * 1_000, '10s to 7d'),
        placeholder: 'duration',
        default: '10m',
        description: 'how long it may be redeemed, 10s to 7d',
      },
      description: { parse: descriptionOf, placeholder: 'text', description: 'what it is for' },
      output,
    },
    async run(options) {
      const created = await client(options).json('POST', '/v1/identity/join-tokens', joinTokenSchema, {
        services: options.service,
        ttlSeconds: Math.ceil(options.ttl / 1_000),
        ...(options.node === undefined ? {} : { node: options.node }),
        ...(options.description === undefined ? {} : { description: options.description }),
      });
      if (options.output === 'json') {
        printJson(created);
        return;
      }
      process.stdout.write(`${created.token ?? ''}\n`);
      say(`token ${created.id} for ${created.services.join(', ')}, redeemable once until ${created.expiresAt}`);
    },
  });
  defineCommand(joinToken, {
    name: 'list',
    summary: 'tokens and who redeemed them; never the tokens themselves',
    options: { ...identityClientOptions, output },
    async run(options) {
      const tokens = await client(options).json('GET', '/v1/identity/join-tokens', z.array(joinTokenSchema));
      printRows(tokens, ['id', 'services', 'node', 'expiresAt', 'redeemedBy', 'description'], options.output);
    },
  });
  defineCommand(joinToken, {
    name: 'delete',
    summary: 'withdraw the token with this ID',
    positional: ['<id>'],
    options: identityClientOptions,
    async run(options, [id = '']) {
      await client(options).send('DELETE', `/v1/identity/join-tokens/${encodeURIComponent(id)}`);
      say(`token ${id} withdrawn`);
    },
  });
}

const nodePath = (id: string): string => `/v1/identity/nodes/${encodeURIComponent(id)}`;
const nodeColumns = [
  ...(['id', 'name', 'services', 'attestation', 'source', 'subject'] as const),
  ...(['joinedAt', 'lastIssuedAt', 'revokedAt'] as const),
] as const;

function defineNodes(identity: Command): void {
  const node = identity.command('node').description('nodes that joined, and their grants');
  defineCommand(node, {
    name: 'list',
    summary: 'nodes and what each may be',
    options: { ...identityClientOptions, output },
    async run(options) {
      const nodes = await client(options).json('GET', '/v1/identity/nodes', z.array(nodeSchema));
      printRows(
        nodes,
        ['id', 'name', 'services', 'attestation', 'joinedAt', 'lastIssuedAt', 'revokedAt'],
        options.output,
      );
    },
  });
  defineCommand(node, {
    name: 'show',
    summary: 'one node: what it may be, how it joined and who vouched for it',
    positional: ['<id>'],
    options: { ...identityClientOptions, output },
    async run(options, [id = '']) {
      const found = await client(options).json('GET', nodePath(id), nodeSchema);
      if (options.output === 'json') printJson(found);
      else printRows([found], nodeColumns, 'table');
    },
  });
  defineCommand(node, {
    name: 'grant',
    summary: 'change what the node with this ID may be; SVIDs of what it may not be any more are taken back',
    positional: ['<id>'],
    options: { ...identityClientOptions, service: grantedService, output },
    async run(options, [id = '']) {
      const changed = await client(options).json('PUT', `${nodePath(id)}/grant`, nodeSchema, {
        services: options.service,
      });
      if (options.output === 'json') printJson(changed);
      else say(`node ${id} may be ${changed.services.join(', ')}`);
    },
  });
  defineCommand(node, {
    name: 'readmit',
    summary: 'let a node of the name of this revoked one attest itself again, with a new key',
    positional: ['<id>'],
    options: identityClientOptions,
    async run(options, [id = '']) {
      await client(options).send('POST', `${nodePath(id)}/readmit`);
      say(`a node of the name of ${id} may attest itself again; the key of ${id} stays revoked`);
    },
  });
  defineCommand(node, {
    name: 'revoke',
    summary: 'withdraw the grant of the node with this ID: no further SVID',
    positional: ['<id>'],
    options: identityClientOptions,
    async run(options, [id = '']) {
      await client(options).send('DELETE', nodePath(id));
      say(`node ${id} revoked`);
    },
  });
}
