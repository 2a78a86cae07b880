import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { JoinTokenView } from '#policies/wire/identity-api.ts';
import { meshRequest } from '#runtime/mesh-http.ts';
import { readRootsFile, vouchedRoots } from '#runtime/svid/vouched-roots.ts';
import { Child } from './child.ts';
import { ShiftedClocks } from './shifted-clock.ts';
import { waitFor } from './wait-for.ts';

/** A mesh of real processes. In one file: starting, asking and ending them share what is known of each. */

const root = join(import.meta.dirname, '..');
const selvedge = join(root, 'bin', 'selvedge');
const node = join(root, 'bin', 'node');

/** What a command printed and how it ended. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a service of the control plane answered. */
export interface ApiAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly text: string;
}

/** An edge proxy of one service. */
export interface ProxyOptions {
  readonly service: string;
  readonly serviceId?: string;
  /** Where its application listens, `host:port`. */
  readonly local?: string;
  /** Names of the services that it calls. */
  readonly upstreams?: readonly string[];
  /** Join token; absent: one for `service` is made. */
  readonly token?: string;
  /** Flags by which it joins instead of a join token. */
  readonly attest?: readonly string[];
  /** False: nothing is kept on disk. */
  readonly state?: false;
  readonly flags?: readonly string[];
}

/** An edge proxy that runs. */
export interface RunningProxy {
  readonly child: Child;
  /** URL of its admin API. */
  readonly admin: string;
  /** `host:port` of the mesh side; '' for a service that only calls. */
  readonly inbound: string;
  /** `host:port` at which an application reaches an upstream. */
  upstream(service: string): string;
}

/** What is read of `/status` of a proxy. */
export interface ProxyStatus {
  readonly ready: boolean;
  readonly svid: { readonly spiffeId: string; readonly serial: string; readonly secondsLeft: number } | null;
  readonly view: {
    readonly origin: string;
    readonly revision: number;
    readonly confirmedSecondsAgo: number | null;
    readonly feed: { readonly kind: string; readonly reason?: string };
  };
  readonly upstreams: readonly {
    readonly name: string;
    readonly protocol: string;
    readonly endpoints: readonly {
      readonly id: string;
      readonly verified: string | null;
      readonly status: string;
      readonly breakers: readonly {
        readonly target: string;
        readonly state: string;
        readonly forcedSeconds: number | null;
      }[];
    }[];
  }[];
}

/**
 * A mesh of real processes, started by bin/selvedge with TLS and join tokens: identity, catalog and edge proxies. All listen on loopback at ports of
 * their own choice, which they keep through a restart; all state and every log is in one directory.
 */
export class MeshProcesses {
  readonly directory: string;
  /** Every secret that was used: none may stand in a log. */
  readonly secrets = new Set<string>();
  readonly #identityFlags: string[];
  readonly #catalogFlags: string[] = [];
  readonly #logLevel: string;
  /** Where everything listens, as in an address: IPv6 in brackets. */
  readonly #host: string;
  /** The clocks of the processes, by their names; absent: all have the real one. */
  readonly clocks: ShiftedClocks | undefined;
  readonly #children = new Map<string, Child>();
  readonly #proxies = new Map<string, { readonly options: ProxyOptions; readonly proxy: RunningProxy }>();
  #identityUrl = '';
  #catalogUrl = '';
  #pin = '';
  #trust: ReturnType<typeof vouchedRoots> | undefined;

  /**
   * @param options.identityFlags further flags of `serve identity`: another backend, the lifetime of SVIDs
   * @param options.host an IPv6 address in brackets; default 127.0.0.1
   * @param options.shiftedClocks gives every process a clock of its own, which `clocks` sets
   */
  constructor(
    directory: string,
    options: { identityFlags?: readonly string[]; logLevel?: string; shiftedClocks?: true; host?: string } = {},
  ) {
    this.clocks = options.shiftedClocks === true ? new ShiftedClocks(directory) : undefined;
    this.directory = directory;
    this.#identityFlags = [...(options.identityFlags ?? [])];
    this.#logLevel = options.logLevel ?? 'info';
    this.#host = options.host ?? '127.0.0.1';
  }

  get identityUrl(): string {
    return this.#identityUrl;
  }

  get catalogUrl(): string {
    return this.#catalogUrl;
  }

  /** `sha256:HEX` of the mesh's root. */
  get pin(): string {
    return this.#pin;
  }

  /** The newest process of each name. */
  get children(): readonly Child[] {
    return [...this.#children.values()];
  }

  /** Flags of `serve identity` as of now, but where it listens and what it keeps. */
  get identityFlags(): readonly string[] {
    return this.#identityFlags;
  }

  /** Further flags of `serve identity`, where they name files of this mesh. */
  addIdentityFlags(...flags: readonly string[]): void {
    this.#identityFlags.push(...flags);
  }

  /** Further flags of `serve catalog`, from its next start on. */
  addCatalogFlags(...flags: readonly string[]): void {
    this.#catalogFlags.push(...flags);
  }

  /** Where a file of this mesh is. */
  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  child(name: string): Child {
    const child = this.#children.get(name);
    if (child === undefined) throw new Error(`${name} was never started`);
    return child;
  }

  /** A proxy that was started, by its name. */
  proxy(name: string): RunningProxy {
    return this.#known(name).proxy;
  }

  /** Starts the identity service, or starts it again. @param url where, if not where it was */
  async startIdentity(url = this.#identityUrl): Promise<void> {
    const port = url === '' ? 0 : new URL(url).port;
    const identity = this.selvedge('identity', [
      ...['serve', 'identity', '--listen', `${this.#host}:${port}`, '--data-dir', this.path('identity')],
      ...this.#identityFlags,
    ]);
    this.#identityUrl = await identity.fact('identity');
    this.#pin = await identity.fact('ca-pin');
    await this.readRoots();
    this.secrets.add(this.operatorToken('identity'));
  }

  /** Has operators trust the roots of now: they change under a rotation. */
  async readRoots(): Promise<void> {
    this.#trust = vouchedRoots(await readRootsFile(this.path('identity', 'ca.pem')));
  }

  /** Starts the catalog, or starts it again. */
  async startCatalog(): Promise<void> {
    const token = this.path('catalog.join-token');
    if (this.#catalogUrl === '') await this.joinTokenFile('selvedge-catalog', token);
    const port = this.#catalogUrl === '' ? 0 : new URL(this.#catalogUrl).port;
    const catalog = this.selvedge('catalog', [
      ...['serve', 'catalog', '--listen', `${this.#host}:${port}`, '--data-dir', this.path('catalog')],
      ...['--identity', this.#identityUrl, '--join-token-file', token, '--ca-pin', this.#pin],
      ...this.#catalogFlags,
    ]);
    this.#catalogUrl = await catalog.fact('catalog');
    this.secrets.add(this.operatorToken('catalog'));
  }

  /** Identity, then the catalog. */
  async startControlPlane(): Promise<void> {
    await this.startIdentity();
    await this.startCatalog();
  }

  /** Starts an edge proxy and waits until it serves. */
  async startProxy(name: string, options: ProxyOptions): Promise<RunningProxy> {
    const proxy = await this.#serves(await this.spawnProxy(name, options), options);
    this.#proxies.set(name, { options, proxy });
    return proxy;
  }

  /** Starts an edge proxy and waits for nothing. */
  async spawnProxy(name: string, options: ProxyOptions): Promise<Child> {
    const file = this.path(`${name}.join-token`);
    if (options.attest !== undefined) return this.selvedge(name, this.#proxyFlags(name, options));
    if (options.token === undefined) await this.joinTokenFile(options.service, file);
    else writeFileSync(file, options.token, { mode: 0o600 });
    return this.selvedge(name, this.#proxyFlags(name, options));
  }

  /** Starts a proxy that ended again: same flags, same addresses, the state that it left. */
  async restartProxy(name: string): Promise<RunningProxy> {
    const { options, proxy } = this.#known(name);
    const restarted = await this.#serves(this.selvedge(name, this.#proxyFlags(name, options, proxy)), options);
    this.#proxies.set(name, { options, proxy: restarted });
    return restarted;
  }

  /** Makes a join token. @param services what the node may be */
  async joinToken(services: readonly string[], options: { node?: string; ttlSeconds?: number } = {}): Promise<string> {
    const answer = await this.identity('POST', '/v1/identity/join-tokens', { services, ...options });
    if (answer.status !== 200) throw new Error(`no join token: ${answer.status} ${answer.text}`);
    const { token = '' } = JSON.parse(answer.text) as JoinTokenView;
    this.secrets.add(token);
    return token;
  }

  /** Makes a join token and puts it into a file. */
  async joinTokenFile(service: string, file: string): Promise<void> {
    writeFileSync(file, `${await this.joinToken([service])}\n`, { mode: 0o600 });
  }

  /** A request of an operator to the identity service. @param token null: none; absent: the right one */
  identity(method: string, path: string, body?: unknown, token?: string | null): Promise<ApiAnswer> {
    return this.#ask(
      `${this.#identityUrl}${path}`,
      method,
      body,
      token === undefined ? this.operatorToken('identity') : token,
    );
  }

  /** A request of an operator to the catalog. @param token null: none; absent: the right one */
  catalog(method: string, path: string, body?: unknown, token?: string | null): Promise<ApiAnswer> {
    return this.#ask(
      `${this.#catalogUrl}${path}`,
      method,
      body,
      token === undefined ? this.operatorToken('catalog') : token,
    );
  }

  /** A request of an operator to the catalog, which must be granted. @returns the JSON of the answer */
  async must(method: string, path: string, body?: unknown): Promise<unknown> {
    const answer = await this.catalog(method, path, body);
    if (answer.status !== 200) throw new Error(`${method} ${path} was answered ${answer.status}: ${answer.text}`);
    return answer.text === '' ? undefined : JSON.parse(answer.text);
  }

  /** Writes an L4 intention, or L7 permissions in Consul's form. @returns when the write was acknowledged, ms since the epoch */
  async intend(source: string, destination: string, rule: 'allow' | 'deny' | readonly object[]): Promise<number> {
    const path = `/v1/connect/intentions/exact?${new URLSearchParams({ source, destination })}`;
    await this.must('PUT', path, typeof rule === 'string' ? { Action: rule } : { Permissions: rule });
    return Date.now();
  }

  /** Tells the catalog that these services speak HTTP. */
  async speakHttp(...services: readonly string[]): Promise<void> {
    for (const Name of services)
      await this.must('PUT', '/v1/config', { Kind: 'service-defaults', Name, Protocol: 'http' });
  }

  /** The token that lets an operator do what he wants at a service. */
  operatorToken(service: 'identity' | 'catalog'): string {
    return readFileSync(this.path(service, 'operator.token'), 'utf8').trim();
  }

  /** How an operator's command reaches the catalog. */
  get operatorFlags(): string[] {
    const token = this.path('catalog', 'operator.token');
    return ['--catalog', this.#catalogUrl, '--ca-file', this.path('identity', 'ca.pem'), '--token-file', token];
  }

  /** Runs a command. */
  command(args: readonly string[]): Promise<CommandResult> {
    return runSelvedge(args);
  }

  /** `/status` of a proxy, the part of its one service. @param admin URL of its admin API */
  async status(admin: string): Promise<ProxyStatus> {
    const { services } = (await (await fetch(`${admin}/status`)).json()) as { services: ProxyStatus[] };
    const [service] = services;
    if (service === undefined) throw new Error('the proxy has no service');
    return service;
  }

  /** Waits until a proxy follows the catalog and has heard from it, not from what it kept, of so many passing instances of an upstream. */
  async knows(admin: string, upstream: string, instances = 1): Promise<void> {
    await waitFor(
      `the proxy at ${admin} to know ${instances} instances of ${upstream}`,
      async () => {
        const { upstreams, view } = await this.status(admin);
        const found = upstreams.find(({ name }) => name === upstream)?.endpoints ?? [];
        return (
          view.feed.kind === 'live' &&
          view.origin === 'feed' &&
          found.length === instances &&
          found.every(({ status }) => status === 'passing')
        );
      },
      40_000,
    );
  }

  /** Waits until the catalog has heard from a proxy that it took in what it was told: from then on it is one that is waited for. */
  async isFollowed(name: string): Promise<void> {
    const { service } = this.#known(name).options;
    await waitFor(
      `the catalog to hear from ${name}`,
      async () => {
        const { proxies } = (await this.must('GET', '/v1/mesh/proxies')) as {
          proxies: { proxy: string; acknowledged: object | null }[];
        };
        return proxies.some(({ proxy, acknowledged }) => proxy === `${name}-host/${service}` && acknowledged !== null);
      },
      20_000,
    );
  }

  /** Ends a process and waits until it is gone. */
  async kill(name: string, signal: NodeJS.Signals): Promise<void> {
    await this.child(name).end(signal);
  }

  /** Ends all, the control plane last: a proxy that goes away says so to the catalog. */
  async end(): Promise<void> {
    const control = this.children.filter(({ name }) => name === 'identity' || name === 'catalog');
    const proxies = this.children.filter((child) => !control.includes(child));
    const outcomes: PromiseSettledResult<void>[] = [];
    // One that does not end must not keep the others, and with them this process.
    for (const some of [proxies, control])
      outcomes.push(...(await Promise.allSettled(some.map((child) => child.end()))));
    for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  }

  /** Starts a process of bin/selvedge. */
  selvedge(name: string, args: readonly string[], options?: ConstructorParameters<typeof Child>[4]): Child {
    const flags = [...args, '--log-level', this.#logLevel];
    const environment = { ...this.clocks?.environment(name), ...options?.environment };
    return this.#keep(new Child(name, selvedge, flags, this.directory, { ...options, environment }));
  }

  /** Starts a process of bin/node. */
  node(name: string, args: readonly string[]): Child {
    return this.#keep(new Child(name, node, args, this.directory));
  }

  #known(name: string): { readonly options: ProxyOptions; readonly proxy: RunningProxy } {
    const known = this.#proxies.get(name);
    if (known === undefined) throw new Error(`${name} never served`);
    return known;
  }

  #keep(child: Child): Child {
    this.#children.set(child.name, child);
    return child;
  }

  async #serves(child: Child, { service, local, upstreams = [] }: ProxyOptions): Promise<RunningProxy> {
    await child.fact('ready');
    const admin = await child.fact('admin');
    const inbound = local === undefined ? '' : await child.fact(`inbound ${service}`);
    const addresses = new Map<string, string>();
    for (const upstream of upstreams) addresses.set(upstream, await child.fact(`upstream ${upstream}`));
    return {
      child,
      admin,
      inbound,
      upstream(name) {
        const address = addresses.get(name);
        if (address === undefined) throw new Error(`${child.name} has no upstream ${name}`);
        return address;
      },
    };
  }

  /** @param at where it listened before */
  #proxyFlags(name: string, options: ProxyOptions, at?: RunningProxy): string[] {
    const { service, serviceId, local, upstreams = [], attest, state, flags = [] } = options;
    const any = `${this.#host}:0`;
    return [
      ...['serve', 'edge-proxy', '--service', service, '--node-name', `${name}-host`],
      ...['--admin-addr', at === undefined ? any : new URL(at.admin).host],
      ...(this.#catalogUrl === '' ? [] : ['--catalog', this.#catalogUrl]),
      // It may be given several times: one that a test names is to be the only one.
      ...(flags.includes('--identity') ? [] : ['--identity', this.#identityUrl]),
      ...['--ca-pin', this.#pin],
      ...(attest ?? ['--join-token-file', this.path(`${name}.join-token`)]),
      ...['--check-interval', '1s'],
      ...(local === undefined ? [] : ['--local', local, '--listen', at?.inbound ?? any]),
      ...(serviceId === undefined ? [] : ['--service-id', serviceId]),
      ...(state === false ? [] : ['--data-dir', this.path(name)]),
      ...upstreams.flatMap((upstream) => ['--upstream', `${upstream}=${at?.upstream(upstream) ?? any}`]),
      ...flags,
    ];
  }

  async #ask(url: string, method: string, body: unknown, token: string | null): Promise<ApiAnswer> {
    const answer = await meshRequest({
      url,
      method,
      headers: {
        ...(token === null ? {} : { 'x-consul-token': token }),
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(this.#trust === undefined ? {} : { trust: this.#trust }),
      clock: () => this.clocks?.now(url.startsWith(this.#identityUrl) ? 'identity' : 'catalog') ?? Date.now(),
      timeoutMs: 10_000,
    });
    return { status: answer.status, headers: answer.headers, text: answer.body.toString('utf8') };
  }
}

/** Runs `selvedge` with these arguments to its end. */
export function runSelvedge(args: readonly string[], cwd = root): Promise<CommandResult> {
  return new Promise((resolve) => {
    execFile(selvedge, [...args], { timeout: 60_000, cwd }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : 1, stdout, stderr });
    });
  });
}
