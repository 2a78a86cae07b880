import type { DemoMesh } from '../mesh.ts';
import { expect, type Story } from '../story.ts';
import { show } from '../terminal.ts';
import type { DemoVault } from '../vault.ts';

/** Identity, catalog, two applications with an edge proxy each: six processes. */
export async function meshStarts(story: Story, mesh: DemoMesh, vault: DemoVault | undefined): Promise<void> {
  story.chapter('1. A mesh starts: identity, catalog, two applications, two edge proxies');
  if (vault !== undefined)
    show(
      `OpenBao ${vault.version} at ${vault.address}: root, issuing CA, one role; identity logs in by AppRole and may only sign`,
    );
  await story.step('the identity service starts', async () => {
    await mesh.startIdentity();
    const ca = vault === undefined ? 'its own CA' : 'Vault signs every certificate';
    return `identity serves at ${mesh.identityUrl}, with ${ca}; who joins proves it by the pin ${mesh.pin.slice(0, 20)}…`;
  });
  await story.step('the catalog joins and starts', async () => {
    await mesh.startCatalog();
    return `the catalog serves at ${mesh.catalogUrl}, with an SVID of its own, on SQLite`;
  });
  await story.step('db starts, with its edge proxy', async () => {
    await mesh.startDb();
    const { svid } = await mesh.status(mesh.dbAdmin);
    return `db's proxy holds ${svid?.spiffeId}`;
  });
  await story.step('web starts, with its edge proxy', async () => {
    await mesh.startWeb();
    const { svid } = await mesh.status(mesh.webAdmin);
    return `web's proxy holds ${svid?.spiffeId}`;
  });
  await story.step('the proxies learn of each other', async () => {
    await mesh.settled();
    const { upstreams } = await mesh.status(mesh.webAdmin);
    expect(upstreams.length === 1, 'web should have one upstream');
    return 'web knows a healthy instance of db, by the catalog';
  });
}
