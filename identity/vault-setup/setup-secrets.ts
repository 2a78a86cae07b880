import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { readFileBounded, writeFileAtomic } from '#runtime/atomic-file.ts';
import { findSecretFile } from '../vault/secret-file.ts';
import { VaultError } from '../vault/transport.ts';
import { vaultPath } from '../vault/vault-path.ts';
import { call, find, type StepResult, type VaultAdmin } from './apply-setup.ts';
import type { SetupPlan } from './setup-plan.ts';

/** Where to write what the service logs in with; what is not named is not written. */
export interface SetupFiles {
  readonly roleIdFile?: string;
  readonly secretIdFile?: string;
  /** Holds a wrapping token instead of the secret id itself. */
  readonly wrappedSecretIdFile?: string;
  /** The root in PEM, for `--vault-roots-file`. */
  readonly rootsFile?: string;
}

/** How long a wrapped secret id waits to be opened: until the service starts. */
export const wrapTtlSeconds = 3_600;

/** @returns the role id of the AppRole. Throws MeshError SLV-2140, SLV-2141, SLV-2146 */
export async function readRoleId(admin: VaultAdmin, plan: SetupPlan): Promise<string> {
  const found = await find(admin, vaultPath('auth', plan.approleMount, 'role', plan.approle, 'role-id'));
  const parsed = z.looseObject({ role_id: z.string() }).safeParse(found);
  if (!parsed.success) throw new MeshError('SLV-2146', `The AppRole ${plan.approle} shows no role id.`);
  return parsed.data.role_id;
}

/** Writes the files (0600) unless they hold what is good already. Throws MeshError SLV-1005, and as Vault refuses. */
export async function writeSetupFiles(
  admin: VaultAdmin,
  plan: SetupPlan,
  files: SetupFiles,
  contents: { readonly roleId: string; readonly rootPem: string },
): Promise<readonly StepResult[]> {
  const { roleIdFile, secretIdFile, wrappedSecretIdFile, rootsFile } = files;
  const results: StepResult[] = [];
  if (roleIdFile !== undefined) results.push(await writeText('role id', roleIdFile, `${contents.roleId}\n`, 0o600));
  if (rootsFile !== undefined) results.push(await writeText('root', rootsFile, contents.rootPem, 0o644));
  if (secretIdFile !== undefined) results.push(await writeSecretId(admin, plan, secretIdFile));
  if (wrappedSecretIdFile !== undefined) results.push(await writeWrapped(admin, plan, wrappedSecretIdFile));
  return results;
}

async function writeText(name: string, path: string, text: string, mode: number): Promise<StepResult> {
  const what = `${name} in ${path}`;
  const before = await readFileBounded(path, 65_536);
  if (before?.toString('utf8') === text) return { what, outcome: 'unchanged', notes: [] };
  await writeFileAtomic(path, text, mode);
  return { what, outcome: before === undefined ? 'made' : 'changed', notes: [] };
}

async function writeSecretId(admin: VaultAdmin, plan: SetupPlan, path: string): Promise<StepResult> {
  const what = `secret id in ${path}`;
  const before = await findSecretFile(path);
  const base = vaultPath('auth', plan.approleMount, 'role', plan.approle, 'secret-id');
  const isGood = before !== undefined && (await knows(admin, `${base}/lookup`, { secret_id: before }, before));
  if (isGood) return { what, outcome: 'unchanged', notes: [] };
  const made = z.looseObject({ secret_id: z.string() }).parse(await call(admin, { path: base, body: {} }));
  await writeFileAtomic(path, `${made.secret_id}\n`);
  return { what, outcome: before === undefined ? 'made' : 'changed', notes: [] };
}

async function writeWrapped(admin: VaultAdmin, plan: SetupPlan, path: string): Promise<StepResult> {
  const what = `wrapped secret id in ${path}`;
  const before = await findSecretFile(path);
  if (before !== undefined && (await knows(admin, 'sys/wrapping/lookup', { token: before }, before)))
    return { what, outcome: 'unchanged', notes: [] };
  const base = vaultPath('auth', plan.approleMount, 'role', plan.approle, 'secret-id');
  const { token } = admin;
  const reply = await admin.transport.write(base, {}, { wrapTtlSeconds, ...(token === undefined ? {} : { token }) });
  if (reply.wrapped === undefined) throw new MeshError('SLV-2146', 'Vault did not wrap the secret id.');
  await writeFileAtomic(path, `${reply.wrapped}\n`);
  const note = `to be opened within ${wrapTtlSeconds / 60} minutes, once`;
  return { what, outcome: before === undefined ? 'made' : 'changed', notes: [note] };
}

/** Whether Vault still knows a secret: it answers with nothing, or with an error of ours, when it does not. */
async function knows(
  { transport, token }: VaultAdmin,
  path: string,
  body: Readonly<Record<string, string>>,
  secret: string,
): Promise<boolean> {
  try {
    const call = { secrets: [secret], ...(token === undefined ? {} : { token }) };
    return (await transport.write(path, body, call)).data != null;
  } catch (error) {
    if (error instanceof VaultError && (error.status === 400 || error.status === 404)) return false;
    throw error;
  }
}
