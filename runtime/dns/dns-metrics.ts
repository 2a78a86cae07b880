import type { CounterCell, Metrics } from '../metrics.ts';
import { recordTypes, responseCodes } from './protocol.ts';
import type { AnswerListener } from './responder.ts';

const typeNames = new Map<number, string>(Object.entries(recordTypes).map(([name, type]) => [type, name]));
const codeNames = new Map<number, string>(Object.entries(responseCodes).map(([name, code]) => [code, name]));
/** From the question read to the answer written: microseconds, but where another server is asked. */
const buckets = [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5];

/** Counts DNS answers. Labels are constants: a type or code that we have no name for is `other`. */
export class DnsMetrics {
  readonly #queries;
  readonly #seconds;
  readonly #cells = new Map<number, CounterCell>();

  /** @param names of the two metrics: each process has its own */
  constructor(metrics: Metrics, names: { readonly queries: string; readonly seconds: string }) {
    this.#queries = metrics.counter(names.queries, 'DNS queries answered.', ['type', 'rcode', 'transport']);
    this.#seconds = metrics
      .histogram(names.seconds, 'Time from a DNS query read to its answer written.', [], buckets)
      .cell({});
  }

  readonly answered: AnswerListener = (type, code, transport, seconds) => {
    const key = ((type & 0xffff) << 5) | ((code & 0xf) << 1) | (transport === 'tcp' ? 1 : 0);
    let cell = this.#cells.get(key);
    if (cell === undefined) {
      const [typeName, rcode] = [typeNames.get(type) ?? 'other', codeNames.get(code) ?? 'other'];
      cell = this.#queries.cell({ type: typeName, rcode, transport });
      // Not for each of 65,536 types that somebody may send.
      if (typeName !== 'other') this.#cells.set(key, cell);
    }
    cell.value += 1;
    this.#seconds.observe(seconds);
  };
}
