import { after, describe, test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { credentials } from '@grpc/grpc-js';
import { createLogger } from '#runtime/logging.ts';
import { findEtcd, startEtcd } from '#test/etcd.ts';
import { storeConformance } from '../conformance.ts';
import { openEtcdStore } from './etcd-store.ts';

const log = createLogger({ process: 'test', level: 'silent' });
const { skip } = await findEtcd();

if (skip !== false) test('store conformance: etcd', { skip });
else
  describe('etcd', async () => {
    const cluster = await startEtcd();
    after(() => cluster[Symbol.asyncDispose]());
    let stores = 0;
    storeConformance('etcd, three members', async () => ({
      store: await openEtcdStore({
        addresses: cluster.addresses,
        credentials: credentials.createInsecure(),
        prefix: `case-${++stores}`,
        log,
      }),
      leaseMs: 3_000,
      modelRuns: 20,
      passTime: (ms) => wait(ms),
    }));
  });
