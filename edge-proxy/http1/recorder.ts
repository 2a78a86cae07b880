import type { Refusal } from './fault.ts';
import type { Http1Limits } from './limits.ts';
import type { RequestHead, ResponseHead } from './message.ts';
import { RequestDecoder } from './request-decoder.ts';
import { ResponseDecoder } from './response-decoder.ts';

/** One request or answer as a decoder told it; for tests. `body` in latin1, its pieces joined. */
export interface Recorded<Head> {
  head: Head;
  body: string;
  complete: boolean;
}

/** All that a decoder told. */
export interface Recording<Head> {
  messages: Recorded<Head>[];
  informational: number[];
  upgraded: string | undefined;
  refusal: Refusal | undefined;
}

function startRecording<Head>(): Recording<Head> {
  return { messages: [], informational: [], upgraded: undefined, refusal: undefined };
}

function bodyHandlers<Head>(record: Recording<Head>) {
  return {
    onHead: (head: Head) => {
      record.messages.push({ head, body: '', complete: false });
    },
    onBody: (chunk: Buffer) => {
      const last = record.messages.at(-1);
      if (last !== undefined) last.body += chunk.toString('latin1');
    },
    onComplete: () => {
      const last = record.messages.at(-1);
      if (last !== undefined) last.complete = true;
    },
    onRefusal: (refusal: Refusal) => {
      if (record.refusal !== undefined) throw new Error('refused twice');
      record.refusal = refusal;
    },
  };
}

/** Cuts latin1 text at the given places, in any order. */
export function cut(text: string, places: readonly number[]): Buffer[] {
  const bytes = Buffer.from(text, 'latin1');
  const sorted = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...sorted].map((start, index) => bytes.subarray(start, sorted[index] ?? bytes.length));
}

/** Decodes requests out of pieces. `end`: the connection ends behind them. */
export function recordRequests(
  pieces: readonly Buffer[],
  end = false,
  limits?: Partial<Http1Limits>,
): Recording<RequestHead> {
  const record = startRecording<RequestHead>();
  const decoder = new RequestDecoder(bodyHandlers(record), limits);
  for (const piece of pieces) decoder.execute(piece);
  if (end) decoder.end();
  return record;
}

/** Decodes answers to requests of the given methods out of pieces. `upgrade`: a 101 was asked for. */
export function recordResponses(
  pieces: readonly Buffer[],
  methods: readonly string[],
  options: { end?: boolean; upgrade?: boolean; limits?: Partial<Http1Limits> } = {},
): Recording<ResponseHead> {
  const record = startRecording<ResponseHead>();
  const waiting = [...methods];
  const next = () => {
    const method = waiting.shift();
    if (method !== undefined) decoder.startResponse(method, options.upgrade);
  };
  const handlers = bodyHandlers(record);
  const decoder: ResponseDecoder = new ResponseDecoder(
    {
      ...handlers,
      onComplete: () => {
        handlers.onComplete();
        if (decoder.idle) next();
      },
      onInformational: (head) => {
        record.informational.push(head.status);
      },
      onUpgraded: (_, rest) => {
        record.upgraded = rest.toString('latin1');
      },
    },
    options.limits,
  );
  next();
  for (const piece of pieces) {
    if (record.upgraded === undefined) decoder.execute(piece);
    else record.upgraded += piece.toString('latin1');
  }
  if (options.end === true) decoder.end();
  return record;
}
