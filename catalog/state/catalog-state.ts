import { protocolOfAll } from '#policies/config-entries/proxy-defaults.ts';
import { normalizationSaid } from '#policies/config-entries/request-normalization.ts';
import { protocolSaid } from '#policies/config-entries/service-defaults.ts';
import type { ServiceProtocol } from '#policies/intention.ts';
import type { RequestNormalization } from '#policies/request-normalization.ts';
import type { KeyValue, RangeResult, WatchBatch, WatchEvent } from '#store/contract.ts';
import { type CheckRecord, Checks } from './checks.ts';
import { ConfigEntries } from './config-entries.ts';
import { Events } from './events.ts';
import { IntentionHistory } from './intention-history.ts';
import { Intentions } from './intentions.ts';
import { KeySets } from './key-sets.ts';
import { KeyValues } from './key-values.ts';
import { nounOf } from './keys.ts';
import { MeshAddresses } from './mesh-addresses.ts';
import { Nodes } from './nodes.ts';
import { ResiliencePolicies } from './resilience.ts';
import { meshServiceOf, Services } from './services.ts';
import { Tokens } from './tokens.ts';
import { type Topic, TopicIndex } from './topics.ts';

/** Called once per applied revision with what it changed. */
export type ChangeListener = (touched: ReadonlySet<Topic>, revision: number) => void;

/**
 * All that the catalog knows, in memory: the store's content as of `revision`. Built from a range, kept by a watch (store-follower.ts);
 * every read is answered from here, synchronously, so an answer is of one revision.
 */
export class CatalogState {
  readonly nodes = new Nodes();
  readonly services = new Services();
  readonly checks = new Checks();
  readonly config = new ConfigEntries();
  readonly intentions = new Intentions();
  readonly intentionHistory = new IntentionHistory();
  readonly resilience = new ResiliencePolicies();
  readonly keySets = new KeySets();
  readonly meshAddresses = new MeshAddresses();
  readonly kv = new KeyValues();
  readonly events = new Events();
  readonly tokens = new Tokens();
  readonly topics = new TopicIndex();
  readonly #listeners = new Set<ChangeListener>();
  #revision = 0;
  /** The newest write among all that it was filled with. */
  #newest = 1;

  /** The store's revision that this is the state of. */
  get revision(): number {
    return this.#revision;
  }

  /** Application protocol of a service: of its service-defaults, else of proxy-defaults, else tcp (Consul). */
  protocolOf(service: string): ServiceProtocol {
    const own = this.config.get('service-defaults', service)?.record.Protocol;
    const ofAll = this.config.get('proxy-defaults', 'global')?.record;
    return protocolSaid(own) ?? protocolSaid(protocolOfAll(ofAll)) ?? 'tcp';
  }

  /** What a service lets pass of requests: of its service-defaults, else of mesh. */
  normalizationOf(service: string): RequestNormalization {
    const own = this.config.get('service-defaults', service)?.record;
    return normalizationSaid(own, this.config.get('mesh', 'mesh')?.record);
  }

  /** Takes over one revision of the store. */
  apply(batch: WatchBatch): void {
    for (const event of batch.events) this.#applyEvent(event);
    this.#revision = batch.revision;
    const touched = this.topics.publish(batch.revision);
    for (const listener of this.#listeners) listener(touched, batch.revision);
  }

  /** Takes in a part of what the store holds, before anybody reads. */
  fill(kvs: readonly KeyValue[]): void {
    for (const kv of kvs) {
      this.#applyEvent({ kind: 'put', kv });
      this.#newest = Math.max(this.#newest, kv.modRevision);
    }
  }

  /** All parts are taken in: it is the state of this revision. */
  filled(revision: number): void {
    this.apply({ revision, events: [] });
    // The catalog's own newest write (last-write is among them), not the store's newest revision: that may be a stranger's, and would be an index that
    // catalogs which have followed all along have never heard of.
    this.topics.raiseFloor(this.#newest);
  }

  /** Becomes what a range read found, when the watch fell behind the store's compaction. Wakes every reader. */
  reset(snapshot: RangeResult): void {
    const present = new Set(snapshot.kvs.map(({ key }) => key));
    const gone: WatchEvent[] = [
      this.services,
      this.checks,
      this.nodes,
      this.config,
      this.intentionHistory,
      this.resilience,
      this.keySets,
      this.meshAddresses,
      this.kv,
      this.events,
      this.tokens,
    ].flatMap((noun) =>
      [...noun.keys()]
        .filter((key) => !present.has(key))
        .map((key) => ({ kind: 'delete' as const, key, modRevision: snapshot.revision })),
    );
    this.apply({
      revision: snapshot.revision,
      events: [...gone, ...snapshot.kvs.map((kv) => ({ kind: 'put' as const, kv }))],
    });
    this.topics.raiseFloor(snapshot.kvs.reduce((newest, { modRevision }) => Math.max(newest, modRevision), 1));
  }

  onChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #applyEvent(event: WatchEvent): void {
    const { touch } = this.topics;
    const key = event.kind === 'put' ? event.kv.key : event.key;
    switch (nounOf(key)) {
      case 'nodes': {
        const name = event.kind === 'put' ? this.nodes.put(event.kv, touch) : this.nodes.delete(key, touch);
        if (name !== undefined) this.#touchNode(name);
        break;
      }
      case 'services':
        if (event.kind === 'put') this.services.put(event.kv, touch);
        else this.services.delete(key, touch);
        break;
      case 'checks': {
        const records = event.kind === 'put' ? this.checks.put(event.kv) : this.checks.delete(key);
        for (const record of records) this.#touchCheck(record);
        break;
      }
      case 'config': {
        if (event.kind === 'put') {
          this.intentions.put(this.config.put(event.kv, touch), touch);
          break;
        }
        const ended = this.config.delete(key, touch);
        if (ended !== undefined) this.intentions.delete(ended, touch);
        break;
      }
      case 'intention-history':
        if (event.kind === 'put') this.intentionHistory.put(event.kv);
        else this.intentionHistory.delete(key);
        break;
      case 'resilience':
        if (event.kind === 'put') this.resilience.put(event.kv, touch);
        else this.resilience.delete(key, touch);
        break;
      case 'jwks':
        if (event.kind === 'put') this.keySets.put(event.kv, touch);
        else this.keySets.delete(key, touch);
        break;
      case 'mesh-addresses':
        if (event.kind === 'put') this.meshAddresses.put(event.kv);
        else this.meshAddresses.delete(key);
        break;
      case 'kv':
        if (event.kind === 'put') this.kv.put(event.kv, touch);
        else this.kv.delete(key, touch);
        break;
      case 'tokens':
        if (event.kind === 'put') this.tokens.put(event.kv, touch);
        else this.tokens.delete(key, touch);
        break;
      case 'events':
        if (event.kind === 'put') this.events.put(event.kv, touch);
        else this.events.delete(key, touch);
        break;
      case undefined:
        break;
    }
  }

  #touchNode(node: string): void {
    for (const { record } of this.services.onNode(node)) this.services.touchInstance(record, this.topics.touch);
  }

  /** A check shows in its own lists, in the health of what it checks, and in the endpoints of a service whose proxy or application it checks. */
  #touchCheck(check: CheckRecord): void {
    const { touch } = this.topics;
    touch('checks');
    touch(`node-checks/${check.Node}`);
    if (check.ServiceName !== '') touch(`service-checks/${check.ServiceName}`);
    const { services } = this;
    const checked =
      check.ServiceID === '' ? services.onNode(check.Node) : [services.get(check.Node, check.ServiceID) ?? []].flat();
    for (const { record } of checked) {
      touch(`health/${record.Service}`);
      const carried = meshServiceOf(record);
      if (carried === undefined) continue;
      touch(`connect-health/${carried}`);
      touch(`upstream/${carried}`);
    }
    for (const { record } of services.proxiesOf(check.Node, check.ServiceID)) {
      const carried = meshServiceOf(record);
      if (carried !== undefined) touch(`upstream/${carried}`);
    }
  }
}
