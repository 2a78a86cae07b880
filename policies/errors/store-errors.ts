/** SLV-35nn: the store. */
export const storeErrors = {
  'SLV-3501': {
    status: 503,
    title: 'Store closed',
    fix: 'The process is stopping. Try again once it is back.',
  },
  'SLV-3502': {
    status: 410,
    title: 'Revision compacted',
    fix: 'The asked revision is older than the history held. Read afresh and watch from there.',
  },
  'SLV-3503': { status: 404, title: 'Lease expired', fix: 'Grant a new lease.' },
  'SLV-3504': {
    status: 507,
    title: 'Store full',
    fix: 'Free disk space on the volume of the data directory; writes resume by themselves. Reads go on.',
  },
  'SLV-3505': {
    status: 503,
    title: 'Store unavailable',
    fix: 'The message names the cause. Reads from memory go on; writes resume when the store is back.',
  },
  'SLV-3506': {
    status: 400,
    title: 'Key or value over the limit',
    fix: 'Keys hold at most 1,024 bytes, values 1 MiB.',
  },
  'SLV-3507': {
    status: 400,
    title: 'Invalid store request',
    fix: 'This is a fault of the caller inside Selvedge; the message names the rule of store/contract.ts that it broke.',
  },
  'SLV-3508': {
    status: 503,
    title: 'Store in use',
    fix: 'Another process has this data directory open. Stop it, or give this one a data directory of its own.',
  },
  'SLV-3509': {
    status: 500,
    title: 'Store not usable',
    fix: 'The message names the cause. A damaged file is restored from a backup; a newer one is opened by the version that wrote it.',
  },
  'SLV-3510': {
    status: 400,
    title: 'Backup of a store not readable',
    fix: 'The message says what is wrong. Take another backup; one of the identity service is restored with `selvedge identity restore`.',
  },
  'SLV-3511': {
    status: 409,
    title: 'Store not empty',
    fix: 'A store is never overwritten. Name an empty data directory or another --etcd-prefix, or remove what is there yourself.',
  },
  'SLV-3512': {
    status: 507,
    title: 'Store not writable',
    fix: 'The disk took no write: its file system is read-only, or it has an error (dmesg says which). Make the volume of the data directory writable; writes resume by themselves. Reads go on.',
  },
} as const;
