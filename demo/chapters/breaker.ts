import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from '#test/wait-for.ts';
import type { DemoMesh } from '../mesh.ts';
import { expect, type Story } from '../story.ts';
import { show } from '../terminal.ts';

const policy = {
  retries: {
    attempts: 2,
    on: ['gateway-error', 'connect-failure', 'reset', 'refused'],
    backoffBaseMs: 10,
    backoffMaxMs: 40,
  },
  breaker: { errorRate: 0.5, volumeThreshold: 6, windowMs: 10_000, openMs: 2_000, closeAfterSuccesses: 2 },
};

/** db fails: retries, then the breaker opens and leaves it in peace, probes, closes. */
export async function breakerOpensAndCloses(story: Story, mesh: DemoMesh): Promise<void> {
  story.chapter('4. db fails: retries, then the circuit breaker');
  const received = async (): Promise<number> => Number(await (await fetch(`${mesh.dbUrl}/control/received`)).text());
  await story.step('how db is to be called', async () => {
    const file = join(mesh.directory, 'db.resilience.json');
    writeFileSync(file, JSON.stringify(policy));
    const result = await mesh.operator('resilience', 'write', 'db', file);
    expect(result.code === 0, result.stderr);
    return 'two retries, and a breaker that opens when half of at least 6 calls fail: pushed live, nothing restarted';
  });
  await story.step('db starts to fail', async () => {
    await fetch(`${mesh.dbUrl}/control/fail`);
    const before = await received();
    const call = await mesh.call('GET', '/orders');
    const tries = (await received()) - before;
    show(`one call of web's: answered ${call.status}, db saw ${tries} tries`);
    expect(tries > 1, `db saw ${tries} tries: no retry`);
    await waitFor(
      'the breaker to open',
      async () => {
        await mesh.call('GET', '/orders');
        return (await mesh.breaker()) === 'open';
      },
      20_000,
    );
    return 'calls are retried, then the breaker opens';
  });
  await story.step('db is left in peace', async () => {
    const before = await received();
    const times: number[] = [];
    for (let call = 0; call < 10; call++) {
      const { ms, status, body } = await mesh.call('GET', '/orders');
      times.push(ms);
      expect(
        status === 503 && (body ?? '').includes('SLV-4003'),
        `call ${call} was answered ${status} ${body?.slice(0, 80)}`,
      );
    }
    const seen = (await received()) - before;
    expect(seen === 0, `db saw ${seen} requests while the breaker was open`);
    times.sort((a, b) => a - b);
    return `10 calls refused at once (median ${times[5]} ms), db saw ${seen} of them`;
  });
  await story.step('db recovers', async () => {
    await fetch(`${mesh.dbUrl}/control/heal`);
    await waitFor('a probe', async () => (await mesh.breaker()) !== 'open', 20_000);
    show(`breaker: ${await mesh.breaker()}`);
    await waitFor(
      'the breaker to close',
      async () => {
        await mesh.call('GET', '/orders');
        return (await mesh.breaker()) === 'closed';
      },
      20_000,
    );
    const call = await mesh.call('GET', '/orders');
    expect(call.status === 200, `the call was answered ${call.status}`);
    return 'half-open, probes succeed, closed: web is served again';
  });
}
