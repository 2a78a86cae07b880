/** One metric of one subject in one case: a value for each round. */
export interface Sample {
  readonly case: string;
  readonly subject: string;
  readonly metric: string;
  readonly unit: string;
  /** `neither`: it says what was done to the subject. */
  readonly better: 'higher' | 'lower' | 'neither';
  readonly values: readonly number[];
}

/** A line of the JSON file. `value` is the median of the rounds. */
export interface Row {
  readonly suite: string;
  readonly case: string;
  readonly subject: string;
  readonly metric: string;
  readonly unit: string;
  readonly value: number;
  /** On our own rows, ours against the best peer: above 1 is better for us whatever the metric's direction. */
  readonly ratioToBest: number | null;
}

/** The subject whose rows carry a ratio. */
export const ownSubject = 'selvedge';

/** The value at a share of the sorted values, 0..1, between neighbours by proportion. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  const position = (sorted.length - 1) * share;
  const lower = sorted[Math.floor(position)];
  const upper = sorted[Math.ceil(position)];
  if (lower === undefined || upper === undefined) throw new Error('no values');
  return lower + (upper - lower) * (position - Math.floor(position));
}

/** The middle value, or the mean of the two in the middle. */
export const median = (values: readonly number[]): number => quantile(values, 0.5);

/** How good `own` is beside the best of `peers`: above 1 is better than every one of them; null without peers, where one of them is nothing, and where neither is better. */
export function ratioToBest(own: number, peers: readonly number[], better: Sample['better']): number | null {
  if (peers.length === 0 || better === 'neither') return null;
  const ratio = better === 'higher' ? own / Math.max(...peers) : Math.min(...peers) / own;
  return Number.isFinite(ratio) ? ratio : null;
}

/** The rows of the JSON file, in the order of the samples. */
export function rowsOf(suite: string, samples: readonly Sample[]): Row[] {
  return samples.map((sample) => ({
    suite,
    case: sample.case,
    subject: sample.subject,
    metric: sample.metric,
    unit: sample.unit,
    value: median(sample.values),
    ratioToBest: ratioOf(sample, samples),
  }));
}

function ratioOf(sample: Sample, samples: readonly Sample[]): number | null {
  if (sample.subject !== ownSubject) return null;
  const peers = samples.filter(
    (other) => other.case === sample.case && other.metric === sample.metric && other.subject !== ownSubject,
  );
  return ratioToBest(
    median(sample.values),
    peers.map((peer) => median(peer.values)),
    sample.better,
  );
}

/** A table for each case: subjects down, metrics across; median (lowest-highest), and on our line the ratio. */
export function tableOf(samples: readonly Sample[]): string {
  return distinct(samples.map((sample) => sample.case))
    .map((name) =>
      caseTable(
        name,
        samples.filter((sample) => sample.case === name),
      ),
    )
    .join('\n\n');
}

function caseTable(name: string, samples: readonly Sample[]): string {
  const metrics = distinct(samples.map((sample) => sample.metric));
  const header = [name, ...metrics.map((metric) => headerOf(metric, samples))];
  const lines = distinct(samples.map((sample) => sample.subject)).map((subject) => [
    subject,
    ...metrics.map((metric) => {
      const sample = samples.find((one) => one.subject === subject && one.metric === metric);
      return sample === undefined ? '' : cellOf(sample, samples);
    }),
  ]);
  const rows = [header, ...lines];
  const widths = header.map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

function headerOf(metric: string, samples: readonly Sample[]): string {
  const unit = samples.find((sample) => sample.metric === metric)?.unit;
  return unit === undefined || unit === metric ? metric : `${metric} ${unit}`;
}

function cellOf(sample: Sample, samples: readonly Sample[]): string {
  const [lowest, middle, highest] = [0, 0.5, 1].map((share) => inDigits(quantile(sample.values, share)));
  const ratio = ratioOf(sample, samples);
  return `${middle} (${lowest}-${highest})${ratio === null ? '' : ` x${ratio.toFixed(2)}`}`;
}

/** Three digits that matter, no more than the measurement has. */
function inDigits(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

const distinct = <T>(values: readonly T[]): T[] => [...new Set(values)];
