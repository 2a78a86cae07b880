import { z } from 'zod';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { caErrorOf } from '../vault/failure.ts';
import { VaultError, type VaultTransport } from '../vault/transport.ts';
import type { SetupCall, SetupStep } from './setup-steps.ts';

/** What a step came to. */
export interface StepResult {
  readonly what: string;
  readonly outcome: 'unchanged' | 'made' | 'changed';
  /** What differed, what the server did not take, what to know. */
  readonly notes: readonly string[];
}

type Found = Readonly<Record<string, unknown>>;
const foundSchema = z.record(z.string(), z.unknown());

/** Vault, as an administrator. */
export interface VaultAdmin {
  readonly transport: VaultTransport;
  /** Undefined: only what needs no token can be read. */
  readonly token: string | undefined;
}

/**
 * The steps that have something to do, with what is there now. Changes nothing.
 * @throws MeshError SLV-2140, SLV-2141, SLV-2146 (something is in the way)
 */
export async function pendingSteps(
  admin: VaultAdmin,
  steps: readonly SetupStep[],
): Promise<readonly { readonly step: SetupStep; readonly done?: StepResult; readonly how?: string }[]> {
  const pending = [];
  for (const step of steps) {
    const found = await find(admin, step.read);
    const judged = found === undefined ? ({ kind: 'absent' } as const) : step.judge(found);
    switch (judged.kind) {
      case 'in-the-way':
        throw new MeshError('SLV-2146', `${step.what} can not be used: ${judged.why}.`);
      case 'as-wanted': {
        const notes = [...(judged.notes ?? []), ...unstuckNotes(step, found ?? {})];
        pending.push({ step, done: { what: step.what, outcome: 'unchanged' as const, notes } });
        break;
      }
      case 'differs':
        pending.push({ step, how: judged.how });
        break;
      case 'absent':
        if (step.calls.length === 0) throw new MeshError('SLV-2146', `There is no ${step.what}.`);
        pending.push({ step });
        break;
    }
  }
  return pending;
}

/**
 * Compares what the administrator may do with what the steps will do, before anything is done.
 * @throws MeshError SLV-2146 naming the paths
 */
export async function requireRights(admin: VaultAdmin, steps: readonly SetupStep[]): Promise<void> {
  const paths = steps.flatMap(({ calls }) => calls.map(({ path }) => path.replace(/\$\w+/g, 'any')));
  if (paths.length === 0) return;
  const granted = await capabilities(admin, 'sys/capabilities-self', { paths });
  const missing = paths.filter((path) => {
    const has = granted(path);
    const sudo = path.startsWith('sys/auth/');
    return (
      !has.includes('root') && (!(has.includes('update') || has.includes('create')) || (sudo && !has.includes('sudo')))
    );
  });
  if (missing.length === 0) return;
  throw new MeshError('SLV-2146', `The token of the administrator may not write to ${missing.join(', ')}.`);
}

/**
 * What a token may do on paths.
 * @param path `sys/capabilities-self`, or `sys/capabilities` with `token` in the body
 */
export async function capabilities(
  admin: VaultAdmin,
  path: string,
  body: { readonly paths: readonly string[]; readonly token?: string },
): Promise<(path: string) => readonly string[]> {
  const data = foundSchema.parse((await call(admin, { path, body })) ?? {});
  return (asked) => z.array(z.string()).catch([]).parse(data[asked]);
}

/** Does one step and looks at what came of it. Throws as `call` does. */
export async function takeStep(admin: VaultAdmin, step: SetupStep, how: string | undefined): Promise<StepResult> {
  const known = new Map<string, string>();
  for (const each of step.calls) {
    const data = await call(admin, substitute(each, known));
    for (const [name, value] of Object.entries(each.takes?.(data) ?? {})) known.set(name, value);
  }
  const found = await find(admin, step.read);
  const judged = found === undefined ? ({ kind: 'absent' } as const) : step.judge(found);
  if (judged.kind === 'absent' || judged.kind === 'in-the-way')
    throw new MeshError('SLV-2146', `${step.what} was written, but Vault does not show it.`);
  const notes = [...(how === undefined ? [] : [how]), ...unstuckNotes(step, found ?? {})];
  return { what: step.what, outcome: how === undefined ? 'made' : 'changed', notes };
}

/** One write. @returns the answer's data. Throws MeshError SLV-2140, SLV-2141 */
export async function call({ transport, token }: VaultAdmin, { path, body }: SetupCall): Promise<unknown> {
  try {
    return (await transport.write(path, body, token === undefined ? {} : { token })).data;
  } catch (error) {
    throw caErrorOf(error, `take ${path}`);
  }
}

/** @returns undefined when there is no such thing */
export async function find({ transport, token }: VaultAdmin, path: string): Promise<Found | undefined> {
  try {
    const { data } = await transport.read(path, token === undefined ? {} : { token });
    return foundSchema.parse(data);
  } catch (error) {
    if (error instanceof VaultError && isAbsence(error)) return undefined;
    throw caErrorOf(error, `show ${path}`);
  }
}

/** 404; for a mount that is not, 400; and for an issuer, 500 with a sentence that has to be read. */
function isAbsence({ status, message }: VaultError): boolean {
  return status === 404 || status === 400 || (status === 500 && message.includes('unable to find PKI issuer'));
}

function substitute({ path, body }: SetupCall, known: ReadonlyMap<string, string>): SetupCall {
  const fill = (text: string): string => text.replace(/\$(\w+)/g, (all, name: string) => known.get(name) ?? all);
  const filled = Object.entries(body).map(([name, value]) => [name, typeof value === 'string' ? fill(value) : value]);
  return { path: fill(path), body: Object.fromEntries(filled) };
}

function unstuckNotes(step: SetupStep, found: Found): string[] {
  return (step.unstuck?.(found) ?? []).map((field) => `did not stick: ${field}`);
}
