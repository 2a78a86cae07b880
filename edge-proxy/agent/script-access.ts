import { ConsulError } from '#policies/consul/consul-error.ts';
import type { AgentAccess } from './agent-options.ts';
import { type AgentRequest, requireToken } from './agent-route.ts';
import type { CheckDefinition } from './check-definition.ts';

/** Whether a check runs a program of this host. */
export function isScript({ work }: CheckDefinition): boolean {
  return work.kind === 'probe' && work.target.kind === 'script';
}

/**
 * Lets script checks pass where they are enabled, from whoever shows the token: they run as the agent's user, who can read the keys of this host.
 * Throws ConsulError: 500 where they are off (as Consul, and its clients look at the text), 403 without the token.
 */
export function admitScripts(
  scripts: AgentAccess | undefined,
  c: AgentRequest,
  checks: readonly CheckDefinition[],
): void {
  if (!checks.some(isScript)) return;
  requireScriptsEnabled(scripts);
  requireToken(scripts, c);
}

/** Throws ConsulError 500 where script checks are off. */
export function requireScriptsEnabled(scripts: AgentAccess | undefined): asserts scripts is AgentAccess {
  if (scripts !== undefined) return;
  throw new ConsulError(
    500,
    'Scripts are disabled on this agent from remote calls; to enable, start it with --enable-local-script-checks',
  );
}
