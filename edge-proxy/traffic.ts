import type { Logger } from '#runtime/logging.ts';
import type { CounterCell, HistogramCell, HotCounter, HotHistogram, Metrics } from '#runtime/metrics.ts';
import type { Decision, DecisionLog } from './decisions.ts';

/** Which requests and connections are logged. */
export type AccessLogMode = 'none' | 'errors' | 'all';

/** What is counted of one edge: requests or connections from one service to another, in one direction of this proxy. */
export interface EdgeTraffic {
  /** Counts one answered or refused request. */
  request(status: number, durationMs: number): void;
  readonly openConnections: { value: number };
  readonly connections: CounterCell;
  readonly bytesSent: CounterCell;
  readonly bytesReceived: CounterCell;
  readonly retries: CounterCell;
  readonly denied: CounterCell;
  /** Let through by an intention in observe mode that would have refused. */
  readonly observed: CounterCell;
  /** Connections or requests cut because an intention, a revocation or a certificate's end said so. */
  readonly cut: CounterCell;
}

/** One line of the access log. */
export interface AccessLine {
  readonly direction: 'inbound' | 'outbound';
  readonly source: string;
  readonly destination: string;
  readonly protocol: 'http' | 'tcp';
  readonly method?: string;
  readonly path?: string;
  readonly status?: number;
  readonly durationMs: number;
  readonly endpoint?: string;
  readonly attempts?: number;
  readonly decision?: string;
  readonly reason?: string;
}

type EdgeLabels = 'direction' | 'source' | 'destination';

const buckets = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const edgeLabels = ['direction', 'source', 'destination'] as const;

/**
 * Counting and logging of the data path. Label values are service names of the configuration, the catalog or a verified SVID,
 * never of a request (CVE-2025-43915).
 */
export class Traffic {
  readonly decisions: DecisionLog;
  readonly #log: Logger;
  readonly #mode: AccessLogMode;
  readonly #requests: HotCounter<EdgeLabels | 'code_class'>;
  readonly #durations: HotHistogram<EdgeLabels>;
  readonly #connections: HotCounter<EdgeLabels>;
  readonly #sent: HotCounter<EdgeLabels>;
  readonly #received: HotCounter<EdgeLabels>;
  readonly #retries: HotCounter<EdgeLabels>;
  readonly #denied: HotCounter<EdgeLabels>;
  readonly #observed: HotCounter<EdgeLabels>;
  readonly #cut: HotCounter<EdgeLabels>;
  readonly #edges = new Map<string, { labels: Record<EdgeLabels, string>; traffic: EdgeTraffic }>();

  constructor(options: { metrics: Metrics; log: Logger; accessLog: AccessLogMode; decisions: DecisionLog }) {
    const { metrics } = options;
    this.#log = options.log;
    this.#mode = options.accessLog;
    this.decisions = options.decisions;
    this.#requests = metrics.counter('selvedge_requests_total', 'HTTP requests answered or refused', [
      ...edgeLabels,
      'code_class',
    ]);
    this.#durations = metrics.histogram(
      'selvedge_request_duration_seconds',
      'From the head of a request to the end of its answer',
      edgeLabels,
      buckets,
    );
    this.#connections = metrics.counter('selvedge_connections_total', 'Connections taken', edgeLabels);
    this.#sent = metrics.counter('selvedge_sent_bytes_total', 'Bytes towards the destination', edgeLabels);
    this.#received = metrics.counter('selvedge_received_bytes_total', 'Bytes from the destination', edgeLabels);
    this.#retries = metrics.counter('selvedge_retries_total', 'Tries beyond the first', edgeLabels);
    this.#denied = metrics.counter(
      'selvedge_denied_total',
      'Requests and connections refused by an intention',
      edgeLabels,
    );
    this.#observed = metrics.counter(
      'selvedge_observed_denials_total',
      'Requests and connections let through by an intention in observe mode that would refuse them',
      edgeLabels,
    );
    this.#cut = metrics.counter(
      'selvedge_cut_total',
      'Connections and requests cut while open: denied since, revoked, expired',
      edgeLabels,
    );
    metrics.gauge('selvedge_open_connections', 'Connections open now', edgeLabels, () =>
      [...this.#edges.values()].map(({ labels, traffic }) => [labels, traffic.openConnections.value] as const),
    );
  }

  /** The counters of one edge; the same object for the same edge. */
  edge(direction: 'inbound' | 'outbound', source: string, destination: string): EdgeTraffic {
    const key = `${direction} ${source} ${destination}`;
    const known = this.#edges.get(key);
    if (known !== undefined) return known.traffic;
    const labels = { direction, source, destination };
    const traffic = this.#makeEdge(labels);
    this.#edges.set(key, { labels, traffic });
    return traffic;
  }

  /** Records a refusal, logs it, and gives it the id that its answer carries. */
  refuse(decision: Omit<Decision, 'id' | 'at'>): Decision {
    const recorded = this.decisions.record(decision);
    if (this.#mode !== 'none') this.#log.warn({ decision: recorded }, 'refused');
    return recorded;
  }

  /** Records what an intention in observe mode would have refused. */
  observe(decision: Omit<Decision, 'id' | 'at' | 'observed'>): void {
    const recorded = this.decisions.record({ ...decision, observed: true });
    if (this.#mode !== 'none') this.#log.info({ decision: recorded }, 'would have been refused');
  }

  /** Whether a line for this status would be written: lets the hot path skip building it. */
  wants(status: number): boolean {
    return this.#mode === 'all' || (this.#mode === 'errors' && status >= 500);
  }

  access(line: AccessLine): void {
    this.#log.info({ access: line }, 'access');
  }

  #makeEdge(labels: Record<EdgeLabels, string>): EdgeTraffic {
    const classes: CounterCell[] = [];
    const duration: HistogramCell = this.#durations.cell(labels);
    const classCell = (index: number): CounterCell => {
      const cell = classes[index] ?? this.#requests.cell({ ...labels, code_class: `${index}xx` });
      classes[index] = cell;
      return cell;
    };
    return {
      request(status, durationMs) {
        classCell((status / 100) | 0).value += 1;
        duration.observe(durationMs / 1_000);
      },
      openConnections: { value: 0 },
      connections: this.#connections.cell(labels),
      bytesSent: this.#sent.cell(labels),
      bytesReceived: this.#received.cell(labels),
      retries: this.#retries.cell(labels),
      denied: this.#denied.cell(labels),
      observed: this.#observed.cell(labels),
      cut: this.#cut.cell(labels),
    };
  }
}
