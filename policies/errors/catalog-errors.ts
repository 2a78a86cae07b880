/** SLV-3nnn: the catalog. */
export const catalogErrors = {
  'SLV-3001': {
    status: 503,
    title: 'Catalog behind its store',
    fix: 'The write is durable, but the catalog has not yet seen it. Read again in a moment; GET /readyz says whether the catalog follows its store.',
  },
  'SLV-3002': {
    status: 409,
    title: 'Too many concurrent writes',
    fix: 'Nothing was written. Read the current value and try again.',
  },
  'SLV-3003': {
    status: 404,
    title: 'Not in the catalog',
    fix: 'Check the name; GET /v1/catalog/services lists what is registered.',
  },
  'SLV-3004': {
    status: 429,
    title: 'Too many readers',
    fix: 'Close unused blocking queries and feeds, or spread the proxies over more catalogs.',
  },
  'SLV-3005': {
    status: 409,
    title: 'Write would widen access',
    fix: 'Under default allow this intention hides a wider deny. Add the deny to it as its last permission, or repeat the write with ?force.',
  },
  'SLV-3006': {
    status: 403,
    title: 'Permission denied',
    fix: 'Present an operator token (X-Consul-Token or Authorization: Bearer), or the SVID of the service that the request is about.',
  },
  'SLV-3007': {
    status: 412,
    title: 'Changed since it was read',
    fix: 'Nothing was written. Read it again, see whether your change still makes sense, and send it with the new ETag.',
  },
} as const;
