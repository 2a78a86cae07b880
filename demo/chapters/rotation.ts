import { waitFor } from '#test/wait-for.ts';
import type { DemoMesh } from '../mesh.ts';
import { expect, type Story } from '../story.ts';
import { Progress } from '../terminal.ts';

/** Certificates live for one minute: they are renewed under load, and no request fails. */
export async function certificatesRotate(story: Story, mesh: DemoMesh): Promise<void> {
  story.chapter('5. Certificates of one minute rotate while requests flow');
  await story.step('load, until both proxies have new certificates, twice', async () => {
    const serial = async (admin: string): Promise<string> => (await mesh.status(admin)).svid?.serial ?? '';
    const seen = { web: new Set<string>(), db: new Set<string>() };
    const load = mesh.startLoad();
    const progress = new Progress();
    try {
      await waitFor(
        'two rotations on each side',
        async () => {
          seen.web.add(await serial(mesh.webAdmin));
          seen.db.add(await serial(mesh.dbAdmin));
          progress.update(`${load.calls()} calls; certificates so far: web ${seen.web.size}, db ${seen.db.size}`);
          return seen.web.size > 2 && seen.db.size > 2;
        },
        90_000,
      );
    } finally {
      progress.done();
    }
    const { calls, failures } = await load.stop();
    expect(failures.length === 0, `${failures.length} of ${calls} calls failed: ${failures[0]}`);
    expect(calls > 100, `only ${calls} calls were made`);
    return `${calls} calls, none failed; web showed ${seen.web.size} certificates, db ${seen.db.size}`;
  });
}
