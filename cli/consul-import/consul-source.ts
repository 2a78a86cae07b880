import { MeshError } from '#policies/errors/mesh-error.ts';
import { readFileBounded } from '#runtime/atomic-file.ts';
import { meshRequest } from '#runtime/mesh-http.ts';
import { webRequest } from '#runtime/web-request.ts';

const timeoutMs = 30_000;
/** Of one answer: a KV or a catalog, whole. */
const maxBytes = 256 * 1_048_576;

/** Where a Consul is. */
export interface ConsulAddress {
  /** `http://…` or `https://…`. */
  readonly url: string;
  readonly tokenFile: string | undefined;
  /** PEM roots of its certificate; default those of the platform. */
  readonly caFile: string | undefined;
}

/** An answer of 4xx or 5xx, as Consul says it. */
export interface SourceRefusal {
  readonly status: number;
  readonly text: string;
}

/** Reads a running Consul by its HTTP API, and nothing but reads. */
export class ConsulSource {
  readonly #address: ConsulAddress;
  #prepared: Promise<{ token: string | undefined; roots: string | undefined }> | undefined;

  constructor(address: ConsulAddress) {
    this.#address = address;
  }

  /** @returns what a GET answers, as JSON; a refusal is thrown. @throws MeshError SLV-1006, SLV-1009, SLV-3006 */
  async get(path: string): Promise<unknown> {
    const answer = await this.attempt(path);
    if ('json' in answer) return answer.json;
    const said = `${this.#address.url} answered ${answer.status} to GET ${path}: ${answer.text}.`;
    if (answer.status === 401 || answer.status === 403) {
      throw new MeshError('SLV-3006', `${said} Give --from-token-file a token that may read.`);
    }
    throw new MeshError(answer.status < 500 ? 'SLV-1009' : 'SLV-1006', said);
  }

  /** As `get`, with a refusal as a value. @throws MeshError SLV-1006 */
  async attempt(path: string): Promise<{ readonly json: unknown } | SourceRefusal> {
    this.#prepared ??= this.#prepare();
    const { token, roots } = await this.#prepared;
    const headers: Record<string, string> = token === undefined ? {} : { 'x-consul-token': token };
    const url = new URL(`${this.#address.url}${path}`);
    const { status, body } =
      url.protocol === 'http:'
        ? await meshRequest({ url: url.href, headers, clock: Date.now, timeoutMs, maxBytes })
        : await webRequest(url, { headers, roots, timeoutMs, maxBytes, signal: new AbortController().signal });
    const text = body.toString('utf8');
    if (status !== 200) return { status, text: text.slice(0, 300).trim() };
    try {
      return { json: JSON.parse(text) };
    } catch (cause) {
      throw new MeshError('SLV-1006', `${this.#address.url} answered no JSON to GET ${path}; is it Consul's API?`, {
        cause,
      });
    }
  }

  async #prepare(): Promise<{ token: string | undefined; roots: string | undefined }> {
    const { url, tokenFile, caFile } = this.#address;
    const token = await read(tokenFile, '--from-token-file');
    const { protocol, hostname } = new URL(url);
    if (
      token !== undefined &&
      protocol === 'http:' &&
      !['localhost', '[::1]'].includes(hostname) &&
      !hostname.startsWith('127.')
    ) {
      throw new MeshError(
        'SLV-1002',
        `a token is not sent to ${hostname} over plain http (--from): give its https address`,
      );
    }
    return { token: token?.trim(), roots: await read(caFile, '--from-ca-file') };
  }
}

async function read(file: string | undefined, flag: string): Promise<string | undefined> {
  if (file === undefined) return undefined;
  const bytes = await readFileBounded(file, 1_048_576);
  if (bytes === undefined) throw new MeshError('SLV-1005', `there is no file ${file} (${flag})`);
  return bytes.toString('utf8');
}
