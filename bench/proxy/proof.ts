import type { Hop } from './hop.ts';
import { type Outcome, probe, probeWithoutCertificate } from './probe.ts';

const inWords = (outcome: Outcome): string => {
  if (outcome === 'closed') return 'connection closed';
  return typeof outcome === 'number' ? `status ${outcome}` : outcome;
};

/** The hop carries the benchmark's request. */
export async function expectAnswered(hop: Hop): Promise<string> {
  const outcome = await probe(hop.mode, hop.port);
  if (outcome !== 200) throw new Error(`expected status 200 from the hop, got: ${inWords(outcome)}`);
  return 'web -> db: status 200';
}

/** The hop does not carry the benchmark's request. */
export async function expectRefused(what: string, hop: Pick<Hop, 'mode' | 'port'>): Promise<string> {
  return refusal(what, await probe(hop.mode, hop.port));
}

/** The server-side proxy speaks TLS 1.3 and serves neither plain text nor a client without certificate. */
export async function expectMutualTls(hop: Hop): Promise<string[]> {
  const { outcome, protocol } = await probeWithoutCertificate(hop.mode, hop.innerPort);
  if (protocol !== 'TLSv1.3') throw new Error(`expected TLSv1.3 between the proxies, got ${protocol}`);
  return [
    refusal('TLSv1.3 without client certificate', outcome),
    refusal('plain text at the server-side proxy', await probe(hop.mode, hop.innerPort)),
  ];
}

function refusal(what: string, outcome: Outcome): string {
  if (outcome === 200) throw new Error(`${what} must be refused, but was answered with status 200`);
  return `${what}: refused (${inWords(outcome)})`;
}
