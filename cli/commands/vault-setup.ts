import type { Command } from 'commander';
import { formatDnsNameRule } from '#identity/dns-name-rule.ts';
import { vaultName } from '#identity/vault/vault-path.ts';
import type { SetupPlan } from '#identity/vault-setup/setup-plan.ts';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { parseTrustDomain } from '#policies/spiffe-id.ts';
import type { OptionValues } from '#runtime/configuration.ts';
import { oneOf, onOff, text } from '#runtime/option-kinds.ts';
import { defineCommand } from '../define-command.ts';
import { say } from '../output.ts';
import { svidDnsName, trustDomain } from '../process-options.ts';
import { vaultPlaceOptions } from '../vault-options.ts';

/** Requests of a person: a Vault that makes an RSA key may take its time. */
const timeoutMs = 30_000;

const options = {
  mode: {
    parse: oneOf('vault-intermediate', 'vault-leaf'),
    placeholder: 'kind',
    default: 'vault-intermediate',
    description: 'what to prepare for: the --backend of the identity service',
  },
  trustDomain,
  ...vaultPlaceOptions,
  adminTokenFile: {
    parse: text,
    placeholder: 'file',
    description: 'token of an administrator of Vault; used by this command only',
  },
  vaultRootIssuer: {
    parse: vaultName,
    placeholder: 'ref',
    description: 'existing issuer of the root mount to be used; absent: selvedge-root, generated when it is not there',
  },
  vaultSuccessorOf: {
    parse: vaultName,
    placeholder: 'ref',
    description:
      'root rotation: make --vault-root-issuer NAME as the next root, certified also by this issuer of the mount',
  },
  vaultIssuer: {
    parse: vaultName,
    placeholder: 'name',
    default: 'selvedge-issuing',
    description: 'issuing CA to make in --vault-mount (vault-leaf)',
  },
  vaultPolicy: { parse: vaultName, placeholder: 'name', default: 'selvedge-identity', description: 'policy to write' },
  vaultApprole: { parse: vaultName, placeholder: 'name', default: 'selvedge', description: 'AppRole to write' },
  svidDnsName,
  dryRun: { parse: onOff, description: 'print the calls that would be made, and make none' },
  printPolicy: { parse: onOff, description: 'print the policy (HCL), and do nothing' },
} as const;

type Options = OptionValues<typeof options>;

/** `selvedge identity vault-setup`. Talk goes to standard error; calls, policy and the flags for `serve identity` to standard output. */
export function defineVaultSetup(identity: Command): void {
  defineCommand(identity, {
    name: 'vault-setup',
    summary: 'prepare a Vault or OpenBao for the identity service, and prove that it is right; may be run again',
    options,
    async run(given) {
      // Loaded when needed: the other commands must not pay for these libraries.
      const [{ minimalPolicy, setupDefaults }, setup, { openVaultTransport }, { readSecretFile }] = await Promise.all([
        import('#identity/vault-setup/setup-plan.ts'),
        import('#identity/vault-setup/vault-setup.ts'),
        import('#identity/vault/transport.ts'),
        import('#identity/vault/secret-file.ts'),
      ]);
      const plan: SetupPlan = {
        ...setupDefaults,
        mode: given.mode,
        trustDomain: parseTrustDomain(given.trustDomain),
        rootMount: given.vaultRootMount,
        rootIssuer: given.vaultRootIssuer ?? setupDefaults.rootIssuer,
        rootExists: given.vaultRootIssuer !== undefined && given.vaultSuccessorOf === undefined,
        predecessor: predecessorOf(given),
        mount: given.vaultMount,
        issuer: given.vaultIssuer,
        role: given.vaultRole,
        dnsNames: given.svidDnsName,
        approleMount: given.vaultApproleMount,
        approle: given.vaultApprole,
        policy: given.vaultPolicy,
      };
      if (given.printPolicy === true) {
        process.stdout.write(minimalPolicy(plan));
        return;
      }
      const printCalls = (calls: readonly string[]): void => {
        for (const call of calls) process.stdout.write(`${call}\n`);
        say(calls.length === 0 ? 'Nothing to change.' : `${calls.length} calls; none was made.`);
      };
      const { vaultAddr: address, vaultNamespace: namespace, vaultCaFile: caFile, adminTokenFile } = given;
      if (given.dryRun === true && adminTokenFile === undefined) {
        printCalls(await setup.setupCalls(undefined, plan));
        return;
      }
      if (address === undefined || adminTokenFile === undefined)
        throw new MeshError('SLV-1003', '--vault-addr and --admin-token-file are needed');
      const transport = openVaultTransport({
        address,
        timeoutMs,
        ...(namespace === undefined ? {} : { namespace }),
        ...(caFile === undefined ? {} : { caFile }),
      });
      try {
        const admin = { transport, token: await readSecretFile(adminTokenFile) };
        if (given.dryRun === true) {
          printCalls(await setup.setupCalls(admin, plan));
          return;
        }
        const { results, proofs } = await setup.runVaultSetup(admin, plan, {
          files: filesOf(given),
          clock: Date.now,
          onResult: ({ outcome, what, notes }) => {
            say(`${outcome.padEnd(9)}  ${what}`);
            for (const each of notes) say(`           ${each}`);
          },
        });
        if (results.every(({ outcome }) => outcome === 'unchanged')) say('Nothing to change.');
        for (const proof of proofs) say(`proven     ${proof}`);
        say('Start the identity service with:');
        process.stdout.write(`${serveFlags(given, address, plan).join(' ')}\n`);
      } finally {
        transport.close();
      }
    },
  });
}

function predecessorOf({ vaultSuccessorOf: predecessor, vaultRootIssuer: root }: Options): string | undefined {
  if (predecessor !== undefined && (root === undefined || root === predecessor))
    throw new MeshError('SLV-1003', '--vault-successor-of needs --vault-root-issuer with a name for the new root');
  return predecessor;
}

function filesOf(given: Options) {
  const { vaultRoleIdFile: roleIdFile, vaultSecretIdFile: secretIdFile } = given;
  const { vaultWrappedSecretIdFile: wrappedSecretIdFile, vaultRootsFile: rootsFile } = given;
  return {
    ...(roleIdFile === undefined ? {} : { roleIdFile }),
    ...(secretIdFile === undefined ? {} : { secretIdFile }),
    ...(wrappedSecretIdFile === undefined ? {} : { wrappedSecretIdFile }),
    ...(rootsFile === undefined ? {} : { rootsFile }),
  };
}

/** What makes `serve identity` use what was prepared. */
function serveFlags(given: Options, address: string, plan: SetupPlan): string[] {
  const flag = (name: string, value: string | undefined): string[] => (value === undefined ? [] : [name, value]);
  const secret =
    given.vaultWrappedSecretIdFile === undefined
      ? ['--vault-secret-id-file', given.vaultSecretIdFile ?? 'FILE']
      : ['--vault-wrapped-secret-id-file', given.vaultWrappedSecretIdFile];
  const places =
    plan.mode === 'vault-leaf'
      ? ['--vault-mount', plan.mount, '--vault-role', plan.role, '--vault-issuer', plan.issuer]
      : ['--vault-root-mount', plan.rootMount, '--vault-root-issuer', plan.rootIssuer];
  return [
    ...['selvedge', 'serve', 'identity', '--trust-domain', plan.trustDomain],
    ...['--backend', plan.mode, '--vault-addr', address],
    ...flag('--vault-namespace', given.vaultNamespace),
    ...flag('--vault-ca-file', given.vaultCaFile),
    ...places,
    ...flag('--vault-roots-file', given.vaultRootsFile),
    ...given.svidDnsName.flatMap((rule) => ['--svid-dns-name', formatDnsNameRule(rule)]),
    ...['--vault-approle-mount', plan.approleMount, '--vault-role-id-file', given.vaultRoleIdFile ?? 'FILE'],
    ...secret,
  ];
}
