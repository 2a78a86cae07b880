import { writeFileSync } from 'node:fs';
import { type Load, startLoad } from '#test/load.ts';
import { type CommandResult, MeshProcesses } from '#test/mesh-processes.ts';
import { typed } from './terminal.ts';
import type { DemoVault } from './vault.ts';

/** What `web` tells of a call that it made. */
export interface CallResult {
  readonly ms: number;
  readonly status?: number;
  readonly decision?: string | null;
  readonly body?: string;
  readonly error?: string;
}

/** The whole mesh of the demo, with the applications `web` and `db`. What an operator does is shown as it would be typed. */
export class DemoMesh extends MeshProcesses {
  webUrl = '';
  dbUrl = '';
  webAdmin = '';
  dbAdmin = '';

  constructor(directory: string, vault: DemoVault | undefined) {
    // One minute, the floor: so that the demo can show renewals. The default is four hours.
    super(directory, { identityFlags: ['--svid-ttl', '1m', ...(vault?.identityFlags ?? [])] });
  }

  /** Starts `db`, the application, and its edge proxy. */
  async startDb(): Promise<void> {
    const db = this.node('db', ['demo/applications.ts', 'db']);
    const local = await db.fact('listening');
    this.dbUrl = `http://${local}`;
    const proxy = await this.startProxy('db-proxy', { service: 'db', local });
    this.dbAdmin = proxy.admin;
  }

  /** Starts `web`'s edge proxy and `web`, the application, which calls `db` at the proxy's local port. */
  async startWeb(): Promise<void> {
    const proxy = await this.startProxy('web-proxy', { service: 'web', upstreams: ['db'] });
    this.webAdmin = proxy.admin;
    const web = this.node('web', ['demo/applications.ts', 'web', '--upstream', `http://${proxy.upstream('db')}`]);
    this.webUrl = `http://${await web.fact('listening')}`;
  }

  /** Makes a join token by command. */
  override async joinTokenFile(service: string, file: string): Promise<void> {
    typed(`selvedge identity join-token create --service ${service} > ${service}.join-token`);
    const made = await this.command([
      ...['identity', 'join-token', 'create', '--service', service, '--identity', this.identityUrl],
      ...['--ca-pin', this.pin, '--token-file', this.path('identity', 'operator.token')],
    ]);
    if (made.code !== 0) throw new Error(made.stderr);
    writeFileSync(file, made.stdout, { mode: 0o600 });
  }

  /** Runs a command of an operator against the catalog, and shows it as it would be typed. */
  async operator(...args: string[]): Promise<CommandResult> {
    typed(`selvedge ${args.join(' ')}`);
    return this.command([...args, ...this.operatorFlags]);
  }

  /** Has `web` call `db`. */
  async call(method: string, path: string): Promise<CallResult> {
    const query = new URLSearchParams({ method, path });
    return (await (await fetch(`${this.webUrl}/call?${query}`)).json()) as CallResult;
  }

  /** Has `web` call `db` without a pause, four calls at once, until stopped. */
  startLoad(): Load {
    return startLoad(async () => {
      const { status, error, body } = await this.call('GET', '/orders');
      return status === 200 ? undefined : `${status ?? error} ${body?.slice(0, 120) ?? ''}`;
    });
  }

  /** Opens a stream from `db` through the mesh to `web`. Resolves once ticks come; `ended` when it is cut. */
  async openTicks(): Promise<{ ended: Promise<{ cut?: string; endedAtMs: number }> }> {
    const response = await fetch(`${this.webUrl}/ticks`);
    const reader = response.body?.getReader();
    if (reader === undefined) throw new Error('web has no answer');
    const first = await reader.read();
    const decoder = new TextDecoder();
    let text = decoder.decode(first.value, { stream: true });
    if (text.trim() !== '') throw new Error(`the stream did not open: ${text}`);
    const rest = async (): Promise<{ cut?: string; endedAtMs: number }> => {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return JSON.parse(text) as { cut?: string; endedAtMs: number };
        text += decoder.decode(value, { stream: true });
      }
    };
    return { ended: rest() };
  }

  /** State of the breaker that web's proxy has for db. */
  async breaker(): Promise<string> {
    return (await this.status(this.webAdmin)).upstreams[0]?.endpoints[0]?.breakers[0]?.state ?? 'none';
  }

  /** Both proxies know of each other, by the catalog. */
  async settled(): Promise<void> {
    await this.knows(this.webAdmin, 'db');
  }
}
