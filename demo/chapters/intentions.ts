import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor } from '#test/wait-for.ts';
import type { DemoMesh } from '../mesh.ts';
import { expect, type Story } from '../story.ts';
import { show, typed } from '../terminal.ts';

const propagationMs = 20_000;

/** Default deny, allow, and rules down to the API call. */
export async function intentionsDecide(story: Story, mesh: DemoMesh): Promise<void> {
  story.chapter('2. Who may call whom');
  await story.step('db speaks HTTP', async () => {
    const file = join(mesh.directory, 'db.service-defaults.json');
    writeFileSync(file, JSON.stringify({ Kind: 'service-defaults', Name: 'db', Protocol: 'http' }));
    const result = await mesh.operator('config-entry', 'write', file);
    expect(result.code === 0, result.stderr);
    return 'the catalog knows that db speaks HTTP, so its calls can be told apart';
  });
  await story.step('nobody allowed anything yet', async () => {
    const refused = await waitFor(
      'a refusal with its reason',
      async () => {
        const call = await mesh.call('GET', '/orders');
        return call.status === 403 && call.decision != null ? call : undefined;
      },
      propagationMs,
    );
    const decision = (await (await fetch(`${mesh.dbAdmin}/decisions/${refused.decision}`)).json()) as {
      rule: string;
      reason: string;
      source: string;
    };
    expect(decision.reason !== '', 'the decision should say why');
    show(`web GET db/orders -> 403, decision ${refused.decision}`);
    show(`db's proxy on that decision: ${decision.rule}: ${decision.reason}`);
    return 'default deny: web is refused, and the refusal says why';
  });
  await story.step('web -> db allow', async () => {
    const result = await mesh.operator('intention', 'create', 'web', 'db', '--allow');
    expect(result.code === 0, result.stderr);
    const call = await waitFor(
      'the call to pass',
      async () => {
        const answer = await mesh.call('GET', '/orders');
        return answer.status === 200 ? answer : undefined;
      },
      propagationMs,
    );
    const { caller } = JSON.parse(call.body ?? '{}') as { caller: string };
    const verified = (await mesh.status(mesh.webAdmin)).upstreams[0]?.endpoints[0]?.verified;
    show(`db's proxy verified its caller as  ${caller}`);
    show(`web's proxy verified its server as ${verified}`);
    expect(/\/svc\/web$/.test(caller), `db saw ${caller}`);
    expect(/\/svc\/db$/.test(verified ?? ''), `web saw ${verified}`);
    return 'web reaches db over mTLS, and each side knows whom it talks to';
  });
  await story.step('rules for single API calls', async () => {
    const file = join(mesh.directory, 'web-db.permissions.json');
    writeFileSync(
      file,
      JSON.stringify([
        { Action: 'allow', HTTP: { PathExact: '/orders', Methods: ['GET'] } },
        { Action: 'deny', HTTP: { PathPrefix: '/orders', Methods: ['DELETE'] } },
      ]),
    );
    const result = await mesh.operator('intention', 'create', 'web', 'db', '--permissions', file);
    expect(result.code === 0, result.stderr);
    await waitFor(
      'DELETE to be refused',
      async () => (await mesh.call('DELETE', '/orders')).status === 403,
      propagationMs,
    );
    const get = await mesh.call('GET', '/orders');
    const trick = await mesh.call('DELETE', '/x/..//%6frders');
    expect(get.status === 200, `GET was answered ${get.status}`);
    expect(trick.status === 403, `a disguised DELETE was answered ${trick.status}`);
    show(`GET /orders -> ${get.status}   DELETE /orders -> 403   DELETE /x/..//%6frders -> ${trick.status}`);
    return 'GET /orders is allowed, DELETE /orders is not, also not in disguise';
  });
  await story.step('what the proxies decide can be asked', async () => {
    const denied = await mesh.operator('intention', 'check', 'web', 'db', '--method', 'DELETE', '--path', '/orders');
    show(denied.stdout);
    expect(denied.code === 3, `the check ended with exit code ${denied.code}: ${denied.stderr}`);
    return 'the check command agrees: denied, exit code 3';
  });
}

/** A deny does not only hold for what comes: it ends what is open. */
export async function openConnectionIsCut(story: Story, mesh: DemoMesh): Promise<void> {
  story.chapter('3. A deny cuts what is open');
  await story.step('an open stream, then a deny', async () => {
    const allow = await mesh.operator('intention', 'create', 'web', 'db', '--allow');
    expect(allow.code === 0, allow.stderr);
    await waitFor('the call to pass', async () => (await mesh.call('GET', '/orders')).status === 200, propagationMs);
    const stream = await mesh.openTicks();
    // The write itself is timed, not the start of a command.
    typed('selvedge intention create web db --deny');
    const writtenMs = await mesh.intend('web', 'db', 'deny');
    const { cut, endedAtMs } = await stream.ended;
    const tookMs = endedAtMs - writtenMs;
    expect(cut !== undefined, 'the stream ended in order, it was not cut');
    expect(tookMs < 1_000, `it took ${tookMs} ms`);
    expect((await mesh.call('GET', '/orders')).status === 403, 'new calls should be refused');
    return `the stream that was open is cut ${Math.max(0, tookMs)} ms after the write was acknowledged`;
  });
  await story.step('and allowed again', async () => {
    const allow = await mesh.operator('intention', 'create', 'web', 'db', '--allow');
    expect(allow.code === 0, allow.stderr);
    await waitFor('the call to pass', async () => (await mesh.call('GET', '/orders')).status === 200, propagationMs);
    return 'web reaches db again';
  });
}
