import {
  bool,
  bytes,
  choice,
  enumeration,
  int64,
  type MessageOf,
  type MessageType,
  many,
  message,
  one,
  string,
} from '#runtime/protobuf/message.ts';

/**
 * etcd's API v3 on the wire, of each message the fields that are used here. Source: github.com/etcd-io/etcd, api/etcdserverpb/rpc.proto and
 * api/mvccpb/kv.proto; the same from etcd 3.4 on. Keys and values are bytes; revisions and lease IDs are int64.
 */

const header = message('etcdserverpb.ResponseHeader', { revision: int64(3) });
const keyValue = message('mvccpb.KeyValue', {
  key: bytes(1),
  createRevision: int64(2),
  modRevision: int64(3),
  version: int64(4),
  value: bytes(5),
  lease: int64(6),
});
/** What a key is, or was. */
export type EtcdKeyValue = MessageOf<typeof keyValue>;

const event = message('mvccpb.Event', {
  type: enumeration(1, { enumName: 'mvccpb.Event.EventType', values: { PUT: 0, DELETE: 1 } }),
  kv: one(2, () => keyValue),
});
/** `Event.EventType.DELETE` */
export const deleteEvent = 1;
export type EtcdEvent = MessageOf<typeof event>;

const compareResult = { enumName: 'etcdserverpb.Compare.CompareResult', values: { EQUAL: 0, GREATER: 1 } };
const compareTarget = {
  enumName: 'etcdserverpb.Compare.CompareTarget',
  values: { VERSION: 0, CREATE: 1, MOD: 2, VALUE: 3 },
};
/** Of a compare: which property, and how. */
export const compareBy = { equal: 0, greater: 1, version: 0, mod: 2, value: 3 } as const;
const compare = message('etcdserverpb.Compare', {
  result: enumeration(1, compareResult),
  target: enumeration(2, compareTarget),
  key: bytes(3),
  version: choice('target_union', int64(4)),
  modRevision: choice('target_union', int64(6)),
  value: choice('target_union', bytes(7)),
});

const rangeRequest = message('etcdserverpb.RangeRequest', {
  key: bytes(1),
  rangeEnd: bytes(2),
  limit: int64(3),
  revision: int64(4),
  countOnly: bool(9),
});
const rangeResponse = message('etcdserverpb.RangeResponse', {
  header: one(1, () => header),
  kvs: many(2, () => keyValue),
});
const putRequest = message('etcdserverpb.PutRequest', { key: bytes(1), value: bytes(2), lease: int64(3) });
const deleteRangeRequest = message('etcdserverpb.DeleteRangeRequest', { key: bytes(1), rangeEnd: bytes(2) });
const requestOp = message('etcdserverpb.RequestOp', {
  put: choice(
    'request',
    one(2, () => putRequest),
  ),
  deleteRange: choice(
    'request',
    one(3, () => deleteRangeRequest),
  ),
});
const txnRequest = message('etcdserverpb.TxnRequest', {
  compare: many(1, () => compare),
  success: many(2, () => requestOp),
  failure: many(3, () => requestOp),
});
const txnResponse = message('etcdserverpb.TxnResponse', { header: one(1, () => header), succeeded: bool(2) });
const compactionRequest = message('etcdserverpb.CompactionRequest', { revision: int64(1) });
const justHeader = message('etcdserverpb.Response', { header: one(1, () => header) });

const watchCreate = message('etcdserverpb.WatchCreateRequest', {
  key: bytes(1),
  rangeEnd: bytes(2),
  startRevision: int64(3),
});
const watchProgress = message('etcdserverpb.WatchProgressRequest', {});
export const watchRequest = message('etcdserverpb.WatchRequest', {
  create: choice(
    'request_union',
    one(1, () => watchCreate),
  ),
  progress: choice(
    'request_union',
    one(3, () => watchProgress),
  ),
});
export const watchResponse = message('etcdserverpb.WatchResponse', {
  created: bool(3),
  canceled: bool(4),
  compactRevision: int64(5),
  cancelReason: string(6),
  events: many(11, () => event),
});

const leaseGrantRequest = message('etcdserverpb.LeaseGrantRequest', { ttlSeconds: int64(1) });
const leaseGrantResponse = message('etcdserverpb.LeaseGrantResponse', { id: int64(2), ttlSeconds: int64(3) });
const leaseRequest = message('etcdserverpb.LeaseRequest', { id: int64(1) });
export const leaseKeepAliveRequest = leaseRequest;
export const leaseKeepAliveResponse = message('etcdserverpb.LeaseKeepAliveResponse', { ttlSeconds: int64(3) });
const statusRequest = message('etcdserverpb.StatusRequest', {});
const statusResponse = message('etcdserverpb.StatusResponse', { version: string(2), dbSizeBytes: int64(3) });

/** A call with one request and one answer. */
export interface EtcdCall<Request extends object, Response extends object> {
  readonly path: string;
  readonly request: MessageType<object, Request>;
  readonly response: MessageType<Response, object>;
  /** Asking it twice is asking it once: it may be asked of another member when one does not answer. */
  readonly repeatable: boolean;
}

function call<Request extends object, Response extends object>(
  path: string,
  request: MessageType<object, Request>,
  response: MessageType<Response, object>,
  repeatable: boolean,
): EtcdCall<Request, Response> {
  return { path: `/etcdserverpb.${path}`, request, response, repeatable };
}

export const etcdCalls = {
  range: call('KV/Range', rangeRequest, rangeResponse, true),
  txn: call('KV/Txn', txnRequest, txnResponse, false),
  compact: call('KV/Compact', compactionRequest, justHeader, true),
  // A lease that nobody uses runs out by itself, so a second one does no harm.
  leaseGrant: call('Lease/LeaseGrant', leaseGrantRequest, leaseGrantResponse, true),
  leaseRevoke: call('Lease/LeaseRevoke', leaseRequest, justHeader, true),
  status: call('Maintenance/Status', statusRequest, statusResponse, true),
};

export const watchPath = '/etcdserverpb.Watch/Watch';
export const leaseKeepAlivePath = '/etcdserverpb.Lease/LeaseKeepAlive';
