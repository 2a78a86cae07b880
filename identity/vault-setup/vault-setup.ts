import { toPem } from '#policies/der-writer.ts';
import type { Clock } from '#runtime/clock.ts';
import { pendingSteps, requireRights, type StepResult, takeStep, type VaultAdmin } from './apply-setup.ts';
import { proveSetup, rootOf } from './prove-setup.ts';
import type { SetupPlan } from './setup-plan.ts';
import { readRoleId, type SetupFiles, writeSetupFiles } from './setup-secrets.ts';
import { setupSteps } from './setup-steps.ts';

/** What a setup came to. */
export interface SetupReport {
  readonly results: readonly StepResult[];
  /** What was shown with the restricted token, a sentence each. */
  readonly proofs: readonly string[];
  readonly roleId: string;
  /** The root of the mesh, PEM. */
  readonly rootPem: string;
}

/**
 * Prepares a Vault or OpenBao for the identity service: mounts, root, and for `vault-leaf` issuing CA and role; policy and AppRole. What is right already
 * stays, so a second run changes nothing. Then proves it with a token of that AppRole.
 *
 * @throws MeshError SLV-2146 (in the way, not permitted, not proven), SLV-2140 to SLV-2142 as Vault answers, SLV-1005 (files)
 */
export async function runVaultSetup(
  admin: VaultAdmin,
  plan: SetupPlan,
  options: { readonly files: SetupFiles; readonly clock: Clock; readonly onResult?: (result: StepResult) => void },
): Promise<SetupReport> {
  const pending = await pendingSteps(admin, setupSteps(plan));
  const toDo = pending.filter(({ done }) => done === undefined).map(({ step }) => step);
  await requireRights(admin, toDo);
  const results: StepResult[] = [];
  const note = (result: StepResult): void => {
    results.push(result);
    options.onResult?.(result);
  };
  for (const { step, done, how } of pending) note(done ?? (await takeStep(admin, step, how)));
  const roleId = await readRoleId(admin, plan);
  const rootPem = toPem('CERTIFICATE', await rootOf(admin, plan));
  for (const result of await writeSetupFiles(admin, plan, options.files, { roleId, rootPem })) note(result);
  const proofs = await proveSetup(admin, plan, roleId, options.clock);
  return { results, proofs, roleId, rootPem };
}

/**
 * The calls that a setup would make, a line each: `POST <path> <body as JSON>`. What a call takes from the answer to one before it is written `$name`.
 *
 * @param admin asked what is there already; undefined: nothing is asked, all calls are shown
 */
export async function setupCalls(admin: VaultAdmin | undefined, plan: SetupPlan): Promise<string[]> {
  const steps = setupSteps(plan);
  const pending =
    admin === undefined ? steps.map((step) => ({ step, done: undefined })) : await pendingSteps(admin, steps);
  return pending
    .filter(({ done }) => done === undefined)
    .flatMap(({ step }) => step.calls.map(({ path, body }) => `POST ${path} ${JSON.stringify(body)}`));
}
