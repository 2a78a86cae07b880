import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { z } from 'zod';
import { Mesh } from '../sidecars.ts';
import { AnswerApplication } from './answer-application.ts';
import type { AnswerClient } from './answer-clients.ts';
import { type Answered, type AnswerReading, type Due, dueOf } from './answer-reading.ts';
import { Http2Client } from './http2-answer-client.ts';
import { type OddAnswer, oddAnswers } from './odd-answers.ts';
import { startAnswerClients } from './readers.ts';

/** What a run was about. */
export interface AnswerTally {
  answers: number;
  /** Forwarded as they are. */
  forwarded: number;
  /** How often a client would not take what we forward. */
  refused: number;
  /** Of those forwarded, and by each client: it takes them from the application itself. */
  readonly agreed: Record<string, number>;
}

/** Our two proxies, an application behind that answers oddly, and all clients before. */
export interface AnswerDifferential {
  readonly tally: AnswerTally;
  /** Has every client ask for it, and then for an answer in order. @throws Error when one reads otherwise than we did, or gets what belongs to another request */
  compare(odd: OddAnswer): Promise<void>;
  end(): Promise<void>;
}

/** Every answer is the application's own, and a failure its alone: none is to be hidden by another try, none held against the next. */
const resilience = { retries: { attempts: 0 }, breaker: { enabled: false }, outlier: { enabled: false } };

const startsWithInterim = /^HTTP\/1\.[01] 1\d\d/;

/**
 * Behind a 1xx, whoever sends it: nginx takes that for the answer and waits for its body (before 1.29.0); HAProxy 2.6 waits for what it has, when the answer comes in
 * more than one piece. How we pass it on is not ours to promise, so that HAProxy is asked only where the application itself sends it.
 */
function losesItself({ name }: AnswerClient, { text, cuts, behind }: OddAnswer, direct: boolean): boolean {
  if (!startsWithInterim.test(text)) return false;
  return name === 'nginx' || (name === 'HAProxy' && !(direct && behind > 0 && cuts.every((at) => at <= behind)));
}

export async function startAnswerDifferential(): Promise<AnswerDifferential> {
  const directory = await mkdtemp(join(tmpdir(), 'selvedge-answers-'));
  const application = new AnswerApplication();
  const mesh = new Mesh({ applications: [application.server], resilience });
  await mesh.start();
  const { clients: inHttp1, end } = await startAnswerClients(join(directory, 'behind-us'), mesh.port);
  const inHttp2 = new Http2Client(mesh.port);
  const clients = [...inHttp1, inHttp2];
  const { port: applicationPort } = z.object({ port: z.number() }).parse(application.server.address());
  const direct = await startAnswerClients(join(directory, 'direct'), applicationPort);
  const tally: AnswerTally = { answers: 0, forwarded: 0, refused: 0, agreed: {} };
  return {
    tally,
    async compare(odd) {
      const due = dueOf(odd);
      application.odd = odd;
      tally.answers += 1;
      if (due.kind === 'answer') tally.forwarded += 1;
      for (const client of clients) {
        if (losesItself(client, odd, false)) continue;
        const answered = await client.ask(odd.method, `/odd/${tally.answers}`);
        if (!matches(answered, due, client)) {
          throw new Error(`${client.name} reads ${JSON.stringify(answered)}\ndue: ${JSON.stringify(due)}`);
        }
        if ('broken' in answered && due.kind === 'answer') tally.refused += 1;
        await goodBehind(client, `/good/${tally.answers}/${client.name.replaceAll(/\W/g, '-')}`);
      }
      // What we take, others must not take otherwise: else it would depend on who asks.
      for (const client of direct.clients) {
        if (due.kind !== 'answer' || client.ours || losesItself(client, odd, true)) continue;
        const answered = await client.ask(odd.method, `/odd/${tally.answers}`);
        client.leave(); // what stands behind the answer is not its next one
        if ('broken' in answered || isOf(client.name, answered)) continue;
        if (!same(answered, due.sent))
          throw new Error(
            `${client.name} reads ${JSON.stringify(answered)} without us\nwe: ${JSON.stringify(due.sent)}`,
          );
        tally.agreed[client.name] = (tally.agreed[client.name] ?? 0) + 1;
      }
      mesh.log.length = 0; // of long runs it would be all memory
    },
    async end() {
      inHttp2.leave();
      await Promise.all([end(), direct.end()]);
      await mesh.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function matches(answered: Answered, due: Due, { ours, name }: AnswerClient): boolean {
  if ('broken' in answered) return !ours || (due.kind === 'refusal' && due.begun);
  if (due.kind === 'refusal') return isRefusal(answered) || isOf(name, answered);
  return !ours && isOf(name, answered) ? true : same(answered, due.reading);
}

/** The mesh's own. */
function isRefusal({ status, headers }: AnswerReading): boolean {
  return status === 502 && headers.some((header) => header.startsWith('selvedge-decision: '));
}

/** What a proxy before us says when it does not take what we forward. */
function isOf(proxy: string, { status, body }: AnswerReading): boolean {
  return /nginx|HAProxy/.test(proxy) && status === 502 && body.includes('<html>');
}

function same(answered: AnswerReading, due: AnswerReading): boolean {
  return JSON.stringify(answered) === JSON.stringify(due);
}

/** On the same connection, where there still is one. */
async function goodBehind(client: AnswerClient, target: string): Promise<void> {
  const reading = await client.ask('GET', target);
  assert.deepEqual(
    reading,
    { status: 200, headers: [`x-asked: ${target}`], body: target },
    `${client.name}, behind it`,
  );
}

/** Compares answers until the time is over. @throws Error with the smallest one that is read differently, and the seed */
export async function compareAnswersFor(
  differential: AnswerDifferential,
  { seed, durationMs }: { readonly seed: number; readonly durationMs: number },
): Promise<void> {
  const untilMs = performance.now() + durationMs;
  const property = fc.asyncProperty(oddAnswers, (odd) => differential.compare(odd));
  // In batches: a run that is interrupted would go on behind our back.
  for (let round = 0; performance.now() < untilMs; round++)
    await fc.assert(property, { seed: seed + round, numRuns: 50 });
}
