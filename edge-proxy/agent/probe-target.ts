import { ConsulError } from '#policies/consul/consul-error.ts';
import type { CheckRequest } from './check-definition.ts';
import { type HostPort, parseHostPort } from './checks/host-port.ts';
import type { HttpTarget } from './checks/http-probe.ts';
import type { ProbeTarget } from './checks/open-probe.ts';
import type { ProbeTls } from './checks/probe.ts';

/** What the operating system runs; [] when it is no script check. Consul's clients say ScriptArgs, its documentation Args. */
export function scriptArgs({ ScriptArgs, Args }: CheckRequest): readonly string[] {
  return ScriptArgs.length > 0 ? ScriptArgs : Args;
}

/** What a check in Consul's names looks at. It names one target. @throws ConsulError 400 */
export function toProbeTarget(request: CheckRequest): ProbeTarget {
  const tls: ProbeTls = { serverName: request.TLSServerName, skipVerify: request.TLSSkipVerify };
  if (request.HTTP !== '') return httpTarget(request, tls);
  if (request.TCP !== '')
    return { kind: 'tcp', ...hostPort('TCP', request.TCP), tls: request.TCPUseTLS ? tls : undefined };
  if (request.UDP !== '') return { kind: 'udp', ...hostPort('UDP', request.UDP) };
  if (request.GRPC !== '') {
    const slash = request.GRPC.indexOf('/');
    const [at, service] =
      slash < 0 ? [request.GRPC, ''] : [request.GRPC.slice(0, slash), request.GRPC.slice(slash + 1)];
    return { kind: 'grpc', ...hostPort('GRPC', at), service, tls: request.GRPCUseTLS ? tls : undefined };
  }
  if (request.H2PING !== '')
    return { kind: 'h2ping', ...hostPort('H2PING', request.H2PING), tls: request.H2PingUseTLS ? tls : undefined };
  const [program = '', ...rest] = scriptArgs(request);
  if (program === '') throw new ConsulError(400, 'Invalid check: ScriptArgs must begin with a program');
  return { kind: 'script', args: [program, ...rest] };
}

function hostPort(field: string, text: string): HostPort {
  const target = parseHostPort(text);
  if (target === undefined)
    throw new ConsulError(400, `Invalid check: ${field} ${JSON.stringify(text)} is not host:port`);
  return target;
}

function httpTarget(request: CheckRequest, tls: ProbeTls): HttpTarget {
  const url = URL.canParse(request.HTTP) ? new URL(request.HTTP) : undefined;
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) {
    throw new ConsulError(400, `Invalid check: ${JSON.stringify(request.HTTP)} is not an http or https URL`);
  }
  const method = request.Method === '' ? 'GET' : request.Method.toUpperCase();
  if (!/^[A-Z]{1,32}$/.test(method) || method === 'CONNECT')
    throw new ConsulError(400, 'Invalid check: Method is not valid');
  for (const [name, values] of Object.entries(request.Header)) {
    const fit = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/.test(name) && values.every((value) => /^[\t\x20-\x7e]*$/.test(value));
    if (!fit) throw new ConsulError(400, `Invalid check: Header ${JSON.stringify(name)} is not valid`);
  }
  return { kind: 'http', url, method, headers: request.Header, body: request.Body, tls };
}
