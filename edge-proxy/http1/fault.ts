import { type ErrorCode, errorCatalogue } from '#policies/errors/catalogue.ts';

/** What is wrong with a message. */
export type FaultKind =
  | 'start-line'
  | 'version'
  | 'header'
  | 'head-size'
  | 'target-size'
  | 'framing'
  | 'chunk'
  | 'host'
  | 'method'
  | 'upgrade'
  | 'protocol'
  | 'expect'
  | 'unsolicited'
  | 'incomplete';

/** A breach of the rules. `reason` is a constant text: it never carries bytes of the peer's. */
export interface Fault {
  readonly kind: FaultKind;
  readonly reason: string;
}

/** Why a message is not taken, ready to be answered (`encodeError`) and logged. After it the connection must be closed. */
export interface Refusal {
  /** HTTP status to answer with. */
  readonly status: number;
  readonly code: ErrorCode;
  /** One clause in plain words, without any byte of the message. */
  readonly reason: string;
}

const requestCodes: Record<FaultKind, ErrorCode> = {
  'start-line': 'SLV-4200',
  header: 'SLV-4201',
  framing: 'SLV-4202',
  chunk: 'SLV-4203',
  host: 'SLV-4204',
  version: 'SLV-4205',
  'head-size': 'SLV-4206',
  'target-size': 'SLV-4207',
  method: 'SLV-4208',
  upgrade: 'SLV-4209',
  protocol: 'SLV-4212',
  expect: 'SLV-4210',
  incomplete: 'SLV-4211',
  unsolicited: 'SLV-4200',
};

/** A refusal of this code, with its status. */
export function refusalOf(code: ErrorCode, reason: string): Refusal {
  return { status: errorCatalogue[code].status, code, reason };
}

/** The refusal of a request with this fault. */
export function refuseRequest({ kind, reason }: Fault): Refusal {
  return refusalOf(requestCodes[kind], reason);
}

/** The refusal of an answer with this fault: always 502, and the caller's request is not at fault. */
export function refuseResponse(fault: Fault): Refusal {
  const code =
    fault.kind === 'incomplete'
      ? 'SLV-4222'
      : fault.kind === 'framing' || fault.kind === 'chunk'
        ? 'SLV-4221'
        : 'SLV-4220';
  return refusalOf(code, fault.reason);
}
