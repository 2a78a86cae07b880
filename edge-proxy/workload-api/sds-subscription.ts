import { status } from '@grpc/grpc-js';
import { quote } from '#policies/quote.ts';
import type { Logger } from '#runtime/logging.ts';
import type { MessageInput, MessageOf } from '#runtime/protobuf/message.ts';
import { RpcError } from './rpc-error.ts';
import { type NamedSecret, secretsOf, secretTypeUrl, type Validation, versionOf } from './secrets.ts';
import type { deltaRequest, deltaResponse, discoveryRequest, discoveryResponse } from './wire/envoy-sds.ts';
import type { WorkloadState } from './workload.ts';

/**
 * What one client of secret discovery has asked for and been told: the protocol of xDS without its stream. `take` reads a request, `next` gives the message
 * that is due, if one is. Source: envoyproxy.io, xDS protocol.
 */

/** More names than any Envoy of one workload asks for. */
const mostNames = 64;
const longestName = 2_048 + 64;

type NodeFacts = MessageOf<typeof discoveryRequest>['node'];

/** The state of the world: each message has all secrets that were asked for. */
export class WorldSubscription {
  readonly #log: Logger;
  #validation: Validation | undefined;
  #names: readonly string[] = [];
  #nonce = 0;
  #sentVersion: string | undefined;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** @throws RpcError INVALID_ARGUMENT for another type of resource, RESOURCE_EXHAUSTED for too many names */
  take(request: MessageOf<typeof discoveryRequest>): void {
    checkType(request.typeUrl);
    const isFirst = this.#validation === undefined;
    this.#validation ??= validationFor(request.node);
    // An answer to a message that a later one has replaced says nothing any more.
    if (!isFirst && request.responseNonce !== String(this.#nonce)) return;
    if (request.errorDetail !== undefined) logRejection(this.#log, request.errorDetail.message, this.#sentVersion);
    const names = bounded([...new Set(request.resourceNames)]);
    if (isFirst || !sameNames(names, this.#names)) this.#sentVersion = undefined;
    this.#names = names;
  }

  /** The message that is due: nothing before the first request, or when the client has been told the same. Also what it rejected is not told again. */
  next(state: () => WorkloadState): MessageInput<typeof discoveryResponse> | undefined {
    if (this.#validation === undefined) return undefined;
    const secrets = secretsOf(this.#names, state(), this.#validation);
    const version = versionOf(secrets);
    if (version === this.#sentVersion) return undefined;
    this.#sentVersion = version;
    this.#nonce += 1;
    return worldResponse(secrets, version, String(this.#nonce));
  }
}

/** Only what changed: each message has the secrets that the client does not have yet. */
export class DeltaSubscription {
  readonly #log: Logger;
  #validation: Validation | undefined;
  #everything = false;
  readonly #names = new Set<string>();
  /** What the client has, by name: version. */
  readonly #held = new Map<string, string>();
  #nonce = 0;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** @throws RpcError as in WorldSubscription */
  take(request: MessageOf<typeof deltaRequest>): void {
    checkType(request.typeUrl);
    const isFirst = this.#validation === undefined;
    this.#validation ??= validationFor(request.node);
    if (request.errorDetail !== undefined) logRejection(this.#log, request.errorDetail.message, undefined);
    if (isFirst) {
      this.#everything = request.resourceNamesSubscribe.length === 0;
      for (const [name, version] of request.initialResourceVersions) this.#held.set(name, version);
    }
    for (const name of request.resourceNamesUnsubscribe) {
      if (name === wildcard) this.#everything = false;
      this.#names.delete(name);
      this.#held.delete(name);
    }
    for (const name of request.resourceNamesSubscribe) {
      if (name === wildcard) this.#everything = true;
      else this.#names.add(name);
      // Who subscribes once more has lost it, and is to be told again.
      if (!isFirst) this.#held.delete(name);
    }
    bounded([...this.#names]);
    bounded([...this.#held.keys()]);
  }

  /** The message that is due: what the client does not have yet; names that it has and that are no more (a trust domain that left) are removed. */
  next(state: () => WorkloadState): MessageInput<typeof deltaResponse> | undefined {
    if (this.#validation === undefined || (this.#names.size === 0 && !this.#everything)) return undefined;
    const secrets = this.#secrets(state(), this.#validation);
    const present = new Set(secrets.map(({ name }) => name));
    const removedResources = [...this.#held.keys()].filter((name) => !present.has(name));
    const changed = secrets.filter(({ name, version }) => this.#held.get(name) !== version);
    if (changed.length === 0 && removedResources.length === 0) return undefined;
    for (const { name, version } of changed) this.#held.set(name, version);
    for (const name of removedResources) this.#held.delete(name);
    this.#nonce += 1;
    return {
      systemVersionInfo: versionOf(secrets),
      typeUrl: secretTypeUrl,
      nonce: String(this.#nonce),
      resources: changed.map(({ name, version, resource }) => ({ name, version, resource })),
      removedResources,
    };
  }

  #secrets(state: WorkloadState, validation: Validation): NamedSecret[] {
    const all = this.#everything ? secretsOf([], state, validation) : [];
    const more = [...this.#names].filter((name) => !all.some((secret) => secret.name === name));
    return more.length === 0 ? all : [...all, ...secretsOf(more, state, validation)];
  }
}

/** One answer to one request, for who asks by polling. */
export function fetchOnce(
  request: MessageOf<typeof discoveryRequest>,
  state: WorkloadState,
): MessageInput<typeof discoveryResponse> {
  checkType(request.typeUrl);
  const secrets = secretsOf(bounded([...new Set(request.resourceNames)]), state, validationFor(request.node));
  return worldResponse(secrets, versionOf(secrets), '');
}

const wildcard = '*';

function worldResponse(
  secrets: readonly NamedSecret[],
  versionInfo: string,
  nonce: string,
): MessageInput<typeof discoveryResponse> {
  return { versionInfo, typeUrl: secretTypeUrl, nonce, resources: secrets.map(({ resource }) => resource) };
}

/** SPIRE's switch for an Envoy that is not to use the SPIFFE validator, in the metadata of its node. */
function validationFor(node: NodeFacts): Validation {
  return node?.metadata?.fields.get('disable_spiffe_cert_validation')?.boolValue === true ? 'plain' : 'spiffe';
}

function checkType(typeUrl: string): void {
  if (typeUrl !== '' && typeUrl !== secretTypeUrl)
    throw new RpcError(status.INVALID_ARGUMENT, `only secrets are served here, not ${quote(typeUrl)}`);
}

function bounded(names: readonly string[]): readonly string[] {
  if (names.length > mostNames || names.some((name) => name.length > longestName))
    throw new RpcError(
      status.RESOURCE_EXHAUSTED,
      `at most ${mostNames} names of at most ${longestName} characters can be asked for`,
    );
  return names;
}

function sameNames(some: readonly string[], others: readonly string[]): boolean {
  return some.length === others.length && some.every((name) => others.includes(name));
}

function logRejection(log: Logger, reason: string, version: string | undefined): void {
  log.warn({ reason: quote(reason), version }, 'SDS: the client rejected its secrets and goes on with those it has');
}
