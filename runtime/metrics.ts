import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';

/** Metrics of one process. Names are `selvedge_*`, units are base units, label values come from the catalog or from constants (invariant 7). */
export interface Metrics {
  readonly registry: Registry;
  /** A counter whose increments on the hot path are one addition. */
  counter<L extends string>(name: string, help: string, labels: readonly L[]): HotCounter<L>;
  /** A gauge that is read when it is scraped. */
  gauge<L extends string>(
    name: string,
    help: string,
    labels: readonly L[],
    read: () => Iterable<readonly [Readonly<Record<L, string>>, number]>,
  ): void;
  histogram<L extends string>(
    name: string,
    help: string,
    labels: readonly L[],
    buckets: readonly number[],
  ): HotHistogram<L>;
  /** Prometheus text exposition. */
  exposition(): Promise<{ contentType: string; text: string }>;
  /** Every series as it is now. */
  view(): Promise<MetricsView[]>;
}

/** One series, without the buckets of a histogram. */
export interface MetricsView {
  readonly name: string;
  readonly kind: 'gauge' | 'counter' | 'histogram';
  readonly labels: Readonly<Record<string, string>>;
  /** Of a counter its value, of a histogram how many were observed, of a gauge 1. */
  readonly count: number;
  /** What was counted or observed in all; the value of a gauge. */
  readonly sum: number;
}

/** One time series of a counter. */
export interface CounterCell {
  value: number;
}

export interface HotCounter<L extends string> {
  /** The series of these label values; keep it and add to `value`. */
  cell(labels: Readonly<Record<L, string>>): CounterCell;
}

/** One time series of a histogram. */
export interface HistogramCell {
  observe(value: number): void;
}

export interface HotHistogram<L extends string> {
  cell(labels: Readonly<Record<L, string>>): HistogramCell;
}

/** A registry with Node's own process metrics (prefix `selvedge_`). */
export function createMetrics(): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry, prefix: 'selvedge_' });
  return {
    registry,
    counter: (name, help, labels) => hotCounter(registry, name, help, labels),
    gauge(name, help, labels, read) {
      new Gauge({
        name,
        help,
        labelNames: [...labels],
        registers: [registry],
        collect() {
          this.reset();
          for (const [values, value] of read()) this.set(values, value);
        },
      });
    },
    histogram: (name, help, labels, buckets) => hotHistogram(registry, name, help, labels, buckets),
    exposition: async () => ({ contentType: registry.contentType, text: await registry.metrics() }),
    view: async () => (await registry.getMetricsAsJSON()).flatMap(seriesOf),
  };
}

/** What prom-client shows of a metric. */
interface ShownMetric {
  readonly name: string;
  readonly type: unknown;
  readonly values?: readonly {
    readonly metricName?: string;
    readonly labels: Readonly<Partial<Record<string, string | number>>>;
    readonly value: number;
  }[];
}

function seriesOf({ name, type, values = [] }: ShownMetric): MetricsView[] {
  const labelsOf = (labels: object): Record<string, string> =>
    Object.fromEntries(Object.entries(labels).map(([key, value]) => [key, String(value)]));
  const [sums, counts] = ['sum', 'count'].map((part) =>
    values.filter(({ metricName }) => metricName === `${name}_${part}`),
  );
  switch (String(type)) {
    case 'gauge':
      return values.map(({ labels, value }) => ({
        name,
        kind: 'gauge',
        labels: labelsOf(labels),
        count: 1,
        sum: value,
      }));
    case 'counter':
      return values.map(({ labels, value }) => {
        return { name, kind: 'counter', labels: labelsOf(labels), count: value, sum: value };
      });
    case 'histogram':
      return (sums ?? []).map(({ labels, value }, at) => {
        return { name, kind: 'histogram', labels: labelsOf(labels), count: counts?.[at]?.value ?? 0, sum: value };
      });
    default:
      return [];
  }
}

function hotCounter<L extends string>(
  registry: Registry,
  name: string,
  help: string,
  labels: readonly L[],
): HotCounter<L> {
  const cells = new Map<string, { labels: Readonly<Record<L, string>>; cell: CounterCell }>();
  new Counter({
    name,
    help,
    labelNames: [...labels],
    registers: [registry],
    collect() {
      this.reset();
      for (const { labels: values, cell } of cells.values()) this.inc(values, cell.value);
    },
  });
  return {
    cell(values) {
      const key = seriesKey(labels, values);
      let entry = cells.get(key);
      if (entry === undefined) {
        entry = { labels: values, cell: { value: 0 } };
        cells.set(key, entry);
      }
      return entry.cell;
    },
  };
}

/**
 * prom-client's own histogram hashes its labels at each observation, which costs more than the rest of a request's bookkeeping;
 * this one registers itself as a metric of the same exposition and counts in place.
 */
function hotHistogram<L extends string>(
  registry: Registry,
  name: string,
  help: string,
  labels: readonly L[],
  buckets: readonly number[],
): HotHistogram<L> {
  const cells = new Map<
    string,
    { labels: Readonly<Record<L, string>>; counts: number[]; sum: number; cell: HistogramCell }
  >();
  const metric = {
    name,
    help,
    type: 'histogram',
    aggregator: 'sum',
    reset: () => cells.clear(),
    get: async () => {
      const values: { metricName: string; labels: Record<string, string | number>; value: number }[] = [];
      for (const entry of cells.values()) {
        let cumulative = 0;
        for (const [index, count] of entry.counts.entries()) {
          cumulative += count;
          const le = buckets[index] ?? '+Inf';
          values.push({ metricName: `${name}_bucket`, labels: { ...entry.labels, le }, value: cumulative });
        }
        values.push({ metricName: `${name}_sum`, labels: { ...entry.labels }, value: entry.sum });
        values.push({ metricName: `${name}_count`, labels: { ...entry.labels }, value: cumulative });
      }
      return { name, help, type: 'histogram', values, aggregator: 'sum' };
    },
  };
  registry.registerMetric(metric as unknown as Parameters<Registry['registerMetric']>[0]);
  return {
    cell(values) {
      const key = seriesKey(labels, values);
      let entry = cells.get(key);
      if (entry === undefined) {
        const counts = new Array<number>(buckets.length + 1).fill(0);
        const made = {
          labels: values,
          counts,
          sum: 0,
          cell: {
            observe(value: number): void {
              let index = 0;
              while (index < buckets.length && value > (buckets[index] ?? Infinity)) index++;
              counts[index] = (counts[index] ?? 0) + 1;
              made.sum += value;
            },
          },
        };
        entry = made;
        cells.set(key, entry);
      }
      return entry.cell;
    },
  };
}

function seriesKey<L extends string>(labels: readonly L[], values: Readonly<Record<L, string>>): string {
  return labels.map((label) => values[label]).join('\u0000');
}
