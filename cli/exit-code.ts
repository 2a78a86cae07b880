import { isMeshError, type MeshError } from '#policies/errors/mesh-error.ts';

/** Exit codes of every command: docs/cli.md. */
export const exitCode = {
  ok: 0,
  failure: 1,
  usage: 2,
  /** A negative answer: denied, not found, unhealthy. */
  no: 3,
  /** Token or certificate missing or not enough. */
  authentication: 4,
  unreachable: 5,
} as const;

/** What was typed is wrong: options, names that can't be, and what a service says can't be. */
const misuse: ReadonlySet<string> = new Set([
  ...['SLV-1001', 'SLV-1002', 'SLV-1003', 'SLV-1009'],
  ...['SLV-2190', 'SLV-5001', 'SLV-5002'],
]);

/** The exit code that an error stands for. */
export function exitCodeOf(error: unknown): number {
  if (!isMeshError(error)) return exitCode.failure;
  if (misuse.has(error.code)) return exitCode.usage;
  if (error.code === 'SLV-1006') return exitCode.unreachable;
  return statusExit(error);
}

function statusExit(error: MeshError): number {
  const { status } = error.entry;
  if (status === 401 || status === 403) return exitCode.authentication;
  return status === 404 ? exitCode.no : exitCode.failure;
}
