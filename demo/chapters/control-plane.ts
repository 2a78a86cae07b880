import { waitFor } from '#test/wait-for.ts';
import type { DemoMesh } from '../mesh.ts';
import { expect, type Story } from '../story.ts';
import { show } from '../terminal.ts';

/** Identity and catalog are killed: traffic goes on from what is cached; they come back: changes flow again. */
export async function controlPlaneDies(story: Story, mesh: DemoMesh): Promise<void> {
  story.chapter('6. The control plane dies');
  await story.step('identity and catalog are killed', async () => {
    const load = mesh.startLoad();
    await Promise.all([mesh.kill('identity', 'SIGKILL'), mesh.kill('catalog', 'SIGKILL')]);
    await waitFor(
      'the proxies to notice',
      async () => (await mesh.status(mesh.webAdmin)).view.feed.kind !== 'live',
      20_000,
    );
    const before = load.calls();
    await waitFor('500 further calls', () => load.calls() > before + 500, 20_000);
    const { calls, failures } = await load.stop();
    expect(failures.length === 0, `${failures.length} of ${calls} calls failed: ${failures[0]}`);
    const { svid } = await mesh.status(mesh.webAdmin);
    show(`web's proxy: feed lost, certificate good for another ${svid?.secondsLeft} s`);
    return `${calls} calls while both were dead, none failed; everyone can see until when that lasts`;
  });
  await story.step('they come back', async () => {
    await mesh.startIdentity();
    await mesh.startCatalog();
    await waitFor(
      'the feeds to be live again',
      async () => {
        const states = await Promise.all([mesh.status(mesh.webAdmin), mesh.status(mesh.dbAdmin)]);
        return states.every(({ view }) => view.feed.kind === 'live');
      },
      40_000,
    );
    const deny = await mesh.operator('intention', 'create', 'web', 'db', '--deny');
    expect(deny.code === 0, deny.stderr);
    await waitFor('the deny to arrive', async () => (await mesh.call('GET', '/orders')).status === 403, 20_000);
    const allow = await mesh.operator('intention', 'create', 'web', 'db', '--allow');
    expect(allow.code === 0, allow.stderr);
    await waitFor('the allow to arrive', async () => (await mesh.call('GET', '/orders')).status === 200, 20_000);
    return 'changes flow again: a deny arrived, then an allow';
  });
}
