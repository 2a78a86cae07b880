import type { EtcdCluster, EtcdMember } from '../etcd.ts';
import { waitFor } from '../wait-for.ts';
import type { CatalogUnderTest } from './catalog-under-test.ts';
import type { Recorder } from './recorder.ts';

/** What a fault may do harm to. */
export interface EtcdWorld {
  readonly cluster: EtcdCluster;
  readonly catalogs: readonly [CatalogUnderTest, CatalogUnderTest];
  readonly recorder: Recorder;
}

/** Something goes wrong under load, and is put right. */
export interface EtcdFault {
  readonly name: string;
  /** Left to long runs. */
  readonly rare?: true;
  run(world: EtcdWorld): Promise<void>;
}

/** Operations that must come out while a fault lasts, and after it. */
const enough = 30;

export const etcdFaults: readonly EtcdFault[] = [
  {
    name: 'the leader is killed and comes back',
    async run({ cluster, recorder }) {
      const leader = await cluster.leader();
      await leader.kill();
      await recorder.more('without the old leader', enough, 'done');
      await leader.start();
    },
  },
  {
    name: 'the leader hangs and wakes up, in the belief that it leads',
    async run({ cluster, recorder }) {
      const leader = await cluster.leader();
      leader.pause();
      await recorder.more('while the leader hangs', enough, 'done');
      leader.resume();
    },
  },
  {
    name: 'the leader is cut off from the others: it is the minority',
    async run({ cluster, recorder }) {
      const leader = await cluster.leader();
      await leader.isolate();
      await anotherLeads(cluster, leader);
      await recorder.more('while the leader is cut off', enough, 'done');
      cluster.heal();
    },
  },
  {
    name: 'a follower is cut off from the others',
    rare: true,
    async run({ cluster, recorder }) {
      const leader = await cluster.leader();
      await cluster.members.find((member) => member !== leader)?.isolate();
      await recorder.more('while a follower is cut off', enough, 'done');
      cluster.heal();
    },
  },
  {
    name: 'each is cut off from each: there is no majority',
    async run({ cluster, recorder }) {
      for (const member of cluster.members) await member.isolate();
      await recorder.more('without an answer', 6, 'unknown');
      cluster.heal();
    },
  },
  {
    name: 'all members are killed and one catalog sleeps; what it missed is compacted before it wakes up',
    async run({ cluster, recorder, catalogs: [, asleep] }) {
      const floor = (): Promise<number | undefined> => recorder.getDefault('looks on', asleep, 'linear/never', 0);
      const before = await waitFor('an answer', floor, 30_000);
      asleep.pause();
      await Promise.all(cluster.members.map((member) => member.kill()));
      await Promise.all(cluster.members.map((member) => member.start()));
      await recorder.more('while a catalog sleeps', enough, 'done');
      await waitFor('a compaction', () => cluster.compact().then(() => true), 30_000);
      asleep.resume();
      // Without history it has to read all anew, and from then on no index of its is lower.
      await waitFor('it to have read all anew', async () => ((await floor()) ?? 0) > before, 30_000);
    },
  },
];

/** The old leader says that it leads until it has noticed. */
async function anotherLeads(cluster: EtcdCluster, old: EtcdMember): Promise<void> {
  const others = cluster.members.filter((member) => member !== old);
  await waitFor(
    'another leader',
    async () => (await Promise.all(others.map((member) => member.isLeader()))).includes(true),
    30_000,
  );
}

/** Runs one fault, and until all is well again: both catalogs answer consistently, and much is done. */
export async function runFault(fault: EtcdFault, world: EtcdWorld): Promise<void> {
  await fault.run(world);
  for (const { url } of world.catalogs)
    await waitFor(
      `a consistent read after "${fault.name}"`,
      async () => [200, 404].includes((await fetch(`${url}/v1/kv/linear/never?consistent`)).status),
      60_000,
    );
  await world.recorder.more(`after "${fault.name}"`, enough, 'done');
}
