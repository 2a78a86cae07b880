import type { Registry } from 'prom-client';

/** Metrics of one process. Names are `selvedge_*`, units are base units, label values come from the catalog or from constants (invariant 7). */
export interface Metrics {
  /** A counter whose increments on the hot path are one addition. */
  counter<L extends string>(name: string, help: string, labels: readonly L[]): HotCounter<L>;
  /** A gauge that is read when it is scraped; what reads nothing is absent: as 0 it would look like the worst. */
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

/** Metrics with Node's own of the process (prefix `selvedge_`), which begin when somebody first reads: until then prom-client, 6 MB with what a reading takes, is not loaded. */
export function createMetrics(): Metrics {
  const metrics: SourceMetric[] = [];
  const add = <T extends SourceMetric>(metric: T): T => {
    metrics.push(metric);
    return metric;
  };
  let registry: Promise<Registry> | undefined;
  const registered = async (): Promise<Registry> => {
    registry ??= processRegistry();
    const into = await registry;
    // Its own type asks for what only its own classes have.
    for (const metric of metrics) into.registerMetric(metric as unknown as Parameters<Registry['registerMetric']>[0]);
    return into;
  };
  return {
    counter: (name, help, labels) => add(hotCounter(name, help, labels)),
    gauge(name, help, labels, read) {
      const values = () => {
        const series = new Map<string, ShownValue>();
        // Of one series the last counts: twice in an exposition, and Prometheus refuses all of it.
        for (const [values, value] of read()) series.set(seriesKey(labels, values), { labels: values, value });
        return [...series.values()];
      };
      add(sourceMetric(name, help, 'gauge', values));
    },
    histogram: (name, help, labels, buckets) => add(hotHistogram(name, help, labels, buckets)),
    async exposition() {
      const from = await registered();
      return { contentType: from.contentType, text: await from.metrics() };
    },
    view: async () => (await (await registered()).getMetricsAsJSON()).flatMap(seriesOf),
  };
}

async function processRegistry(): Promise<Registry> {
  const { collectDefaultMetrics, Registry: NewRegistry } = await import('prom-client');
  const registry = new NewRegistry();
  collectDefaultMetrics({ register: registry, prefix: 'selvedge_' });
  return registry;
}

interface ShownValue {
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/** What prom-client's registry reads of a metric, made without its classes: they hash labels at each observation, which costs more than the rest of a request's bookkeeping. */
interface SourceMetric {
  readonly name: string;
  get(): Promise<{
    readonly name: string;
    readonly help: string;
    readonly type: string;
    readonly aggregator: string;
    readonly values: readonly ShownValue[];
  }>;
}

function sourceMetric(name: string, help: string, type: string, values: () => readonly ShownValue[]): SourceMetric {
  return { name, get: async () => ({ name, help, type, aggregator: 'sum', values: values() }) };
}

/** A counter without labels is 0 before anything was counted. */
function withZero(labels: readonly string[], values: readonly ShownValue[]): readonly ShownValue[] {
  return labels.length === 0 && values.length === 0 ? [{ labels: {}, value: 0 }] : values;
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

function hotCounter<L extends string>(name: string, help: string, labels: readonly L[]): HotCounter<L> & SourceMetric {
  const cells = new Map<string, { labels: Readonly<Record<L, string>>; cell: CounterCell }>();
  const values = () => [...cells.values()].map(({ labels, cell: { value } }) => ({ labels, value }));
  return {
    ...sourceMetric(name, help, 'counter', () => withZero(labels, values())),
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

function hotHistogram<L extends string>(
  name: string,
  help: string,
  labels: readonly L[],
  buckets: readonly number[],
): HotHistogram<L> & SourceMetric {
  const cells = new Map<
    string,
    { labels: Readonly<Record<L, string>>; counts: number[]; sum: number; cell: HistogramCell }
  >();
  const values = (): ShownValue[] => {
    const shown: ShownValue[] = [];
    for (const entry of cells.values()) {
      let cumulative = 0;
      for (const [index, count] of entry.counts.entries()) {
        cumulative += count;
        const le = buckets[index] ?? '+Inf';
        shown.push({ metricName: `${name}_bucket`, labels: { ...entry.labels, le }, value: cumulative });
      }
      shown.push({ metricName: `${name}_sum`, labels: { ...entry.labels }, value: entry.sum });
      shown.push({ metricName: `${name}_count`, labels: { ...entry.labels }, value: cumulative });
    }
    return shown;
  };
  return {
    ...sourceMetric(name, help, 'histogram', values),
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
