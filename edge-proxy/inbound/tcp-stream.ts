import type { Verdict } from '#policies/intention-decision.ts';
import type { ByteStream } from '../byte-stream.ts';
import { idleHandlers } from '../byte-stream.ts';
import { relay } from '../relay.ts';
import type { HeaderFields } from '../tunnel/tunnel-stream.ts';
import { wireOf } from '../wire-protocol.ts';
import type { Caller } from './caller.ts';
import type { InboundContext } from './inbound-context.ts';
import type { LiveStream } from './live-streams.ts';

/** What the caller's intentions say of a whole connection. L7 rules can't be asked of bytes, so where there are any, bytes are denied. */
export function judgeConnection(caller: Caller, context: InboundContext): Verdict {
  const policy = caller.policy;
  const { view } = context;
  if (policy === undefined || view.inbound === undefined) return context.nothingKnown;
  if (wireOf(view.inbound.protocol) !== 'bytes') return protocolChanged(context);
  if (policy.connection !== 'per-request') return policy.connection;
  return {
    allowed: false,
    rule: 'protocol',
    reason: `${context.view.service} has HTTP permissions now, and this connection carries bytes that the proxy does not read as HTTP/1.1`,
    revision: context.view.revision,
  };
}

/** For bytes that were let in before the protocol of the service became another. */
export function protocolChanged({ view }: InboundContext): Verdict {
  const reason = `${view.service} is of protocol ${view.inbound?.protocol} now, and this connection carries bytes that the proxy does not read`;
  return { allowed: false, rule: 'protocol', reason, revision: view.revision };
}

/** Records the refusal of a connection. @returns the decision id */
export function recordDenial(verdict: Verdict, caller: Caller, context: InboundContext): string {
  const { view, traffic } = context;
  caller.calls.note('', '', verdict);
  caller.edge.denied.value += 1;
  return traffic.refuse({
    direction: 'inbound',
    source: caller.peer.spiffeId,
    destination: view.service,
    code: 'SLV-4001',
    rule: verdict.rule,
    reason: verdict.reason,
    revision: verdict.revision,
  }).id;
}

/** Records what was let in by an intention in observe mode. */
function recordObserved({ observed, revision }: Verdict, caller: Caller, context: InboundContext): void {
  if (observed === undefined) return;
  const { view, traffic } = context;
  caller.edge.observed.value += 1;
  traffic.observe({
    direction: 'inbound',
    source: caller.peer.spiffeId,
    destination: view.service,
    code: 'SLV-4001',
    ...observed,
    revision,
  });
}

/** What is said to a caller that is not let in, as a tunnel says it; a plain connection is just closed. */
export function denialFields(decision: string, reason: string): HeaderFields {
  return [
    ['selvedge-decision', decision],
    ['selvedge-reason', reason],
  ];
}

/** For the other proxy: nothing was done, so another try is safe. */
export function notReachedFields(reason: string): HeaderFields {
  return [
    ['selvedge-reached', 'no'],
    ['selvedge-reason', reason],
  ];
}

/** A caller's connection before it is joined with the application. */
export interface KnockingStream {
  /** Paused. */
  readonly bytes: ByteStream;
  /** It is let in, and everything stands ready for its bytes. */
  accept(): void;
  /** It is not; ends it. */
  refuse(status: number, fields: HeaderFields): void;
}

/** Connects a caller with the application as plain bytes, where its intentions let it, and judges it for as long as it is open. */
export function serveTcp(knocking: KnockingStream, caller: Caller, context: InboundContext): void {
  const refused = (verdict: Verdict): boolean => {
    if (verdict.allowed) return false;
    const decision = recordDenial(verdict, caller, context);
    knocking.refuse(403, denialFields(decision, verdict.reason));
    return true;
  };
  if (refused(judgeConnection(caller, context))) return;
  const giveUp = context.application.connect(
    (application) => {
      // Connecting took its time: what was allowed then may be denied now, and nobody cuts what is not open yet.
      if (refused(judgeConnection(caller, context))) {
        application.destroy();
        return;
      }
      const verdict = judgeConnection(caller, context);
      recordObserved(verdict, caller, context);
      caller.calls.note('', '', verdict);
      relayInbound(knocking.bytes, application, caller, context);
      knocking.accept();
    },
    (cause) => {
      knocking.bytes.handlers = idleHandlers;
      const reason = `${context.view.service} does not take connections: ${cause}`;
      context.traffic.refuse({
        direction: 'inbound',
        source: caller.peer.spiffeId,
        destination: context.view.service,
        code: 'SLV-4007',
        rule: 'application',
        reason,
      });
      knocking.refuse(503, notReachedFields(reason));
    },
  );
  knocking.bytes.handlers = { ...idleHandlers, onClose: giveUp };
}

/** Joins a caller that was let in with a connection to the application. */
function relayInbound(stream: ByteStream, application: ByteStream, caller: Caller, context: InboundContext): void {
  const { view, traffic, live } = context;
  const { edge } = caller;
  const startedMs = performance.now();
  edge.connections.value += 1;
  edge.openConnections.value += 1;
  const cut = relay(stream, application, {
    sweep: context.sweep,
    idleTimeoutMs: context.idleTimeoutMs,
    forward: edge.bytesSent,
    backward: edge.bytesReceived,
    onDone(fault) {
      live.delete(entry);
      edge.openConnections.value -= 1;
      if (!traffic.wants(fault === undefined ? 200 : 502)) return;
      traffic.access({
        direction: 'inbound',
        source: caller.peer.spiffeId,
        destination: view.service,
        protocol: 'tcp',
        durationMs: Math.round(performance.now() - startedMs),
        ...(fault === undefined ? {} : { reason: fault }),
      });
    },
  });
  const entry: LiveStream = {
    before: undefined,
    after: undefined,
    linkedIn: undefined,
    judge: () => judgeConnection(caller, context),
    cut(verdict) {
      edge.cut.value += 1;
      cut(`cut: ${verdict.reason} (decision ${recordDenial(verdict, caller, context)})`);
    },
  };
  live.add(entry);
}
