/** SLV-2106 to 2109 and 2112: attestation of nodes by other means than a join token. */
export const attestationErrors = {
  'SLV-2106': {
    status: 403,
    title: 'Attested, but no mapping gives a grant',
    fix: 'Compare what the node has proven with `match` and the templates of `attestation` in the configuration of the identity service (docs/identity.md); the message says what does not fit.',
  },
  'SLV-2107': {
    status: 401,
    title: 'Attestation refused',
    fix: 'The message says which rule the token or certificate broke. Have its issuer make a fresh one for this audience, or compare the `attestation` of the identity service with it (docs/identity.md).',
  },
  'SLV-2108': {
    status: 503,
    title: 'Issuer of the attestation not available',
    fix: 'The keys of the issuer, or the Vault, can not be asked now (the message says how). The node goes on trying; nodes that have joined need neither.',
  },
  'SLV-2109': {
    status: 403,
    title: 'Token already used by another node',
    fix: 'A token attests one node key. Give each node a token of its own, and keep the --data-dir of a node, which holds its key. If nobody here used it, revoke the node that did.',
  },
  'SLV-2112': {
    status: 400,
    title: 'Attestation method not configured',
    fix: 'The message names what the identity service takes. Add the method to its `attestation` (docs/identity.md), or join the node with a join token.',
  },
} as const;
