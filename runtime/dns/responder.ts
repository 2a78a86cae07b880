import type { Random } from '../clock.ts';
import type { Logger } from '../logging.ts';
import type { DnsView } from './dns-view.ts';
import { type Answer, emptyAnswer, writeAnswer, writeTruncated } from './message-writer.ts';
import { classes, headerFlags, recordTypes, responseCodes } from './protocol.ts';
import { type Query, type Question, readQuery } from './query.ts';
import type { Recursor, Transport } from './recursor.ts';
import { isPrivateSource, SourceLimits } from './source-limits.ts';
import { answerQuestion, type ZoneSettings } from './zone.ts';

/** Who asked, and how. */
export interface Asker {
  readonly address: string;
  readonly transport: Transport;
}

/** Told of each answer, for the metrics. `type` and `code` are numbers from outside: whoever counts must bound them. */
export type AnswerListener = (type: number, code: number, transport: Transport, seconds: number) => void;

/** What a DNS server answers with. */
export interface ResponderParts {
  readonly view: DnsView;
  readonly zone: ZoneSettings;
  /** Undefined: what is not of our zones is refused. */
  readonly recursor: Recursor | undefined;
  readonly random: Random;
  readonly log: Logger;
  readonly onAnswer: AnswerListener;
}

/** Without EDNS (RFC 1035 2.3.4). */
const plainUdpBytes = 512;
/** With EDNS no more than this, whatever the asker takes: HAProxy's largest, which takes no cut answers. */
const maxUdpBytes = 8_192;
const maxTcpBytes = 65_535;

/** From the bytes of a query to those of its answer. Never throws, whatever the bytes. */
export class DnsResponder {
  readonly #parts: ResponderParts;
  readonly #limits = new SourceLimits();

  constructor(parts: ResponderParts) {
    this.#parts = parts;
  }

  /** @returns what to send back: at once, later where another server is asked, or undefined for nothing */
  respond(message: Uint8Array, asker: Asker): Uint8Array | Promise<Uint8Array> | undefined {
    const startMs = performance.now();
    const read = readQuery(message);
    if (read.kind === 'dropped') return undefined;
    const { query } = read;
    const counted = (answer: Uint8Array): Uint8Array => {
      const seconds = (performance.now() - startMs) / 1_000;
      this.#parts.onAnswer(query.question?.type ?? 0, (answer[3] ?? 0) & 0xf, asker.transport, seconds);
      return answer;
    };
    if (read.kind === 'faulty') return counted(this.#write(query, emptyAnswer(read.code), asker));
    if (asker.transport === 'udp' && !this.#limits.admits(asker.address, startMs))
      return counted(writeTruncated(query));
    try {
      const answer = this.#answer(read.query, asker);
      const missing = this.#parts.view.fetchMissing?.();
      if (missing !== undefined) return this.#onceKnown(missing, answer, message, read.query, asker).then(counted);
      if (answer !== 'ask elsewhere') return counted(this.#write(query, answer, asker));
      return this.#askElsewhere(message, read.query, asker).then(counted);
    } catch (error) {
      this.#parts.log.error({ err: error }, 'a DNS question could not be answered');
      return counted(this.#write(query, emptyAnswer('SERVFAIL'), asker));
    }
  }

  #answer(query: Query & { readonly question: Question }, asker: Asker): Answer | 'ask elsewhere' {
    const { question, edns } = query;
    if (edns !== undefined && edns.version !== 0) return emptyAnswer('BADVERS');
    if (question.class !== classes.IN && question.class !== classes.ANY) return emptyAnswer('REFUSED');
    const { OPT, AXFR, IXFR } = recordTypes;
    if ([OPT, AXFR, IXFR].some((type) => type === question.type)) return emptyAnswer('REFUSED');
    const { view, zone, random } = this.#parts;
    const answer = answerQuestion(question, view, zone, random);
    if (answer.kind === 'answer') return answer.answer;
    const isWanted = (query.flags & headerFlags.recursionDesired) !== 0;
    return isWanted && this.#recurses(asker) ? 'ask elsewhere' : answer.unless;
  }

  /** What was never asked before and can't be had now is no "no": SERVFAIL, unless others may know. */
  async #onceKnown(
    missing: Promise<void>,
    ifNot: Answer | 'ask elsewhere',
    message: Uint8Array,
    query: Query & { readonly question: Question },
    asker: Asker,
  ): Promise<Uint8Array> {
    const answer = await missing.then(
      () => this.#answer(query, asker),
      // The view has logged why.
      () => (ifNot === 'ask elsewhere' ? ifNot : emptyAnswer('SERVFAIL')),
    );
    return answer === 'ask elsewhere' ? this.#askElsewhere(message, query, asker) : this.#write(query, answer, asker);
  }

  async #askElsewhere(
    message: Uint8Array,
    query: Query & { readonly question: Question },
    asker: Asker,
  ): Promise<Uint8Array> {
    const answer = await this.#parts.recursor?.ask(message, query.question, asker.transport);
    return answer ?? this.#write(query, emptyAnswer('SERVFAIL'), asker);
  }

  /** Not for the internet: an open resolver is a weapon. */
  #recurses({ address }: Asker): boolean {
    return this.#parts.recursor !== undefined && isPrivateSource(address);
  }

  #write(query: Query, answer: Answer, asker: Asker): Uint8Array {
    const udpBytes = Math.min(Math.max(query.edns?.payloadBytes ?? 0, plainUdpBytes), maxUdpBytes);
    return writeAnswer(query, answer, {
      maxBytes: asker.transport === 'tcp' ? maxTcpBytes : udpBytes,
      recursionAvailable: this.#recurses(asker),
      stale: answer.authoritative && !this.#parts.view.current,
    });
  }
}

/** @returns the name of a response code, for a label; `other` for what servers beyond ours made up */
export function codeName(code: number): string {
  return Object.entries(responseCodes).find(([, value]) => value === code)?.[0] ?? 'other';
}
