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
    fix: 'Under default allow this intention hides a wider deny: add the deny to it as its last permission. Or it is in observe mode where something is denied now: allow that first. Or repeat the write with ?force.',
  },
  'SLV-3006': {
    status: 403,
    title: 'Permission denied',
    fix: 'Present a token with a role that allows it (X-Consul-Token or Authorization: Bearer; docs/tokens.md), or the SVID of the service that the request is about.',
  },
  'SLV-3007': {
    status: 412,
    title: 'Changed since it was read',
    fix: 'Nothing was written. Read it again, see whether your change still makes sense, and send it with the new ETag.',
  },
  'SLV-3008': {
    status: 404,
    title: 'No such token',
    fix: 'It may have been revoked already. selvedge token list shows all with their accessors; a secret is not an accessor.',
  },
  'SLV-3009': {
    status: 400,
    title: 'No such role',
    fix: 'A role is operator, reader, intentions:NAME or service:NAME, where NAME is a service or a prefix with one trailing *. Services named selvedge-… are registered by operators alone.',
  },
  'SLV-3010': {
    status: 409,
    title: 'Too many tokens',
    fix: 'Revoke what is not used any more (selvedge token list, selvedge token revoke ACCESSOR); expired tokens count until they are revoked.',
  },
  'SLV-3011': {
    status: 409,
    title: 'Would allow calls to every service',
    fix: 'Name the destination. Or, where it is meant: selvedge intention create … --yes, in the API ?everywhere.',
  },
  'SLV-3012': {
    status: 409,
    title: 'Import too large for one transaction',
    fix: 'Nothing was written. What stands for every destination can not change in one step with so many others without a moment in which neither policy holds: import the intentions to * in a file of their own, before the others where they deny, after them where they allow.',
  },
  'SLV-3013': {
    status: 503,
    title: 'Import not complete',
    fix: 'Each destination is either as it was or as the file says, none is between. Repeat the import: what is done already is left alone.',
  },
} as const;
