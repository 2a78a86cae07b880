/** SLV-2nnn: identity: attestation, issuance, SVIDs, trust. */
export const identityErrors = {
  'SLV-2001': {
    status: 401,
    title: 'Not authenticated',
    fix: 'Present an operator token (X-Consul-Token or Authorization: Bearer) or an SVID over mTLS.',
  },
  'SLV-2002': {
    status: 403,
    title: 'Not permitted',
    fix: 'The caller is known but not entitled to this. Ask an operator for a grant or a token with the role that the message names.',
  },
  'SLV-2010': {
    status: 401,
    title: 'Server not proven',
    fix: 'The server could not prove the identity expected of it, so nothing was sent. Check --ca-file / --ca-pin (the server prints its pin at start) and the address.',
  },
  'SLV-2011': {
    status: 503,
    title: 'No SVID in hand',
    fix: 'The service has not been issued an SVID, or its last one has run out. The log says why renewal fails; it goes on by itself when identity answers.',
  },
  'SLV-2012': {
    status: 502,
    title: 'Trust bundle refused',
    fix: 'The signed bundle does not prove that it is of this trust domain, so the one in hand stays in use. Check that the process talks to the identity service of its own mesh.',
  },
  'SLV-2013': {
    status: 502,
    title: 'Issued SVID refused',
    fix: 'The identity service answered with something other than was asked, so it is not used. The message names the difference; compare the versions of both.',
  },
  'SLV-2014': {
    status: 502,
    title: 'Identity service refused',
    fix: 'The message holds the answer of the identity service and its code.',
  },
  'SLV-2015': {
    status: 502,
    title: 'Succession of roots refused',
    fix: 'The root was replaced while this node was away, and nothing that it can verify leads to the new one. If this is the identity service of its mesh: stop the node, delete `trust.jws` in its state directory, and start it with the new --ca-pin or --ca-file.',
  },
  'SLV-2020': {
    status: 401,
    title: 'Peer certificate refused',
    fix: 'The peer did not present an X.509-SVID that this trust domain accepts; the message says which rule it broke.',
  },
  'SLV-2101': {
    status: 403,
    title: 'Join token unknown',
    fix: 'Check that the whole token was copied and that it is of this mesh; an operator makes a fresh one with `selvedge identity join-token create`.',
  },
  'SLV-2102': {
    status: 403,
    title: 'Join token already redeemed',
    fix: 'A join token is good for one node, once. An operator makes a fresh one with `selvedge identity join-token create`; if nobody here redeemed it, revoke the node that did.',
  },
  'SLV-2103': {
    status: 409,
    title: 'Join token already redeemed by this node key',
    fix: 'The node has joined: go on with its key. Its node id is in the context of this answer.',
  },
  'SLV-2104': {
    status: 403,
    title: 'Join token expired',
    fix: 'An operator makes a fresh one with `selvedge identity join-token create --ttl 10m`. If it should still be good, compare the clocks.',
  },
  'SLV-2105': {
    status: 403,
    title: 'Join token is for another node',
    fix: 'Start the node with the name that the token was made for (--node-name), or have a token made for this one.',
  },
  'SLV-2110': {
    status: 401,
    title: 'Node proof invalid',
    fix: 'The message says what is wrong with it. Most often the clocks differ by more than a minute, or the node has lost its key: join it again with a fresh token.',
  },
  'SLV-2111': {
    status: 401,
    title: 'Node unknown',
    fix: 'This identity service has no such node (any more): join it with a fresh join token. A node that was away for more than 30 days has to.',
  },
  'SLV-2120': {
    status: 403,
    title: 'Outside the grant',
    fix: 'The node may not be this service. Grant it all that it is to be: `selvedge identity node grant ID --service NAME`, or join it with a token that grants the service: `selvedge identity join-token create --service NAME`.',
  },
  'SLV-2121': {
    status: 403,
    title: 'Node revoked',
    fix: 'An operator revoked this node. If it is to come back, make a new node key and join it with a fresh join token.',
  },
  'SLV-2122': {
    status: 401,
    title: 'SVID not accepted for renewal',
    fix: 'Renew with the newest SVID or the one before it, or prove the node key.',
  },
  'SLV-2130': {
    status: 400,
    title: 'Certificate request not usable',
    fix: 'Send a PKCS#10 request in PEM, signed by its own EC P-256, EC P-384, Ed25519 or RSA (2048 to 4096 bit) key, that asks for no other identity; the message says what is wrong.',
  },
  'SLV-2131': {
    status: 403,
    title: 'Name not allowed in an SVID',
    fix: 'An SVID holds its SPIFFE ID and no other name. Ask for none in the certificate request, or have an operator allow the DNS name: `selvedge serve identity --svid-dns-name SERVICE=NAME` (docs/identity.md).',
  },
  'SLV-2140': {
    status: 503,
    title: 'CA not available',
    fix: 'The CA does not answer now (the message says how). SVIDs in hand stay valid; renewals go on by themselves when it is back. For Vault: check that it is up and unsealed (`vault status`), and that --vault-ca-file holds its CA.',
  },
  'SLV-2141': {
    status: 502,
    title: 'CA refused',
    fix: 'The CA answered that it will not do this; trying again does not help. Compare mount, role and policy with docs/vault.md.',
  },
  'SLV-2142': {
    status: 502,
    title: 'CA returned something else than was asked',
    fix: 'The certificate was thrown away. Correct the role of the CA: the message names the difference; docs/vault.md has the role that fits.',
  },
  'SLV-2143': {
    status: 500,
    title: 'CA state not usable',
    fix: 'The file that the message names does not hold what it should. Restore the data directory from a backup; deleting it makes a new root, which every node must then be told.',
  },
  'SLV-2144': {
    status: 403,
    title: 'CA login failed',
    fix: 'Check the token, the AppRole (role id, secret id), JWT or certificate, and what Vault binds it to; a fresh one in the same file is picked up without a restart.',
  },
  'SLV-2145': {
    status: 403,
    title: 'Wrapped secret id was opened by somebody else, or has expired',
    fix: 'Treat the secret id as stolen until its expiry is proven: destroy it in Vault, look in the audit device of Vault who unwrapped it, then write a fresh wrapping token to the file.',
  },
  'SLV-2146': {
    status: 409,
    title: 'Vault not prepared',
    fix: 'The message names what is in the way or missing. Correct it in Vault (or choose other names), and run `selvedge identity vault-setup` again: what is right already stays.',
  },
  'SLV-2150': {
    status: 507,
    title: 'Audit log not writable',
    fix: 'What can not be recorded is not done. Free space on the volume of the data directory, or make audit.jsonl writable: it goes on by itself.',
  },
  'SLV-2151': {
    status: 500,
    title: 'Audit log broken',
    fix: 'The log was changed where the message says. `selvedge audit verify FILE` shows the line. Keep a copy as evidence, move it aside, and start again.',
  },
  'SLV-2160': {
    status: 429,
    title: 'Too many requests',
    fix: 'Wait as long as Retry-After says.',
  },
  'SLV-2123': {
    status: 403,
    title: 'SPIFFE ID or SVID revoked',
    fix: 'An operator revoked it: `selvedge identity revocation list` says when and why, `selvedge identity revocation delete` takes it back.',
  },
  'SLV-2170': {
    status: 404,
    title: 'No such node or join token',
    fix: 'List them with `selvedge identity node list` and `selvedge identity join-token list`.',
  },
  'SLV-2171': {
    status: 404,
    title: 'No such revocation',
    fix: 'List them with `selvedge identity revocation list`; the one of a node is final, a node comes back with a new key and a join token.',
  },
  'SLV-2172': {
    status: 501,
    title: 'No CRL from this service',
    fix: 'With --backend vault-leaf Vault signs, and has a CRL of its own, which does not know what is revoked here. Use vault-intermediate or embedded where outsiders need a CRL.',
  },
  'SLV-2180': {
    status: 409,
    title: 'A rotation is under way',
    fix: '`selvedge identity rotation status` says where it stands and whom it waits for; `selvedge identity rotate root --force` (or issuing) goes on without them.',
  },
  'SLV-2181': {
    status: 409,
    title: 'This CA is not rotated here',
    fix: 'The keys are in Vault: make the next root or issuing CA there, then start the identity service with its name (docs/rotation.md).',
  },
  'SLV-2182': {
    status: 409,
    title: 'Another takeover of the CA is under way',
    fix: 'Start the identity service with the options of the CA that takes over, until `selvedge identity rotation status` says idle; only then name a third.',
  },
  'SLV-2183': {
    status: 409,
    title: 'No rotation to force',
    fix: 'It has ended already, or was not begun. To begin one, leave out --force; `selvedge identity rotation status` says where things stand.',
  },
  'SLV-2184': {
    status: 503,
    title: 'This identity process does not sign now',
    fix: 'Ask another one of the mesh, or this one again in a moment: with each of them as --identity, nodes go on by themselves. If none signs, look in their logs for which holds the lease.',
  },
  'SLV-2185': {
    status: 409,
    title: 'Identity processes of one mesh with different CAs',
    fix: 'Start it with the same --backend and options of the CA as the others. To change the CA, stop all but one, start that one with the new options, and the others with them when `selvedge identity rotation status` says idle (docs/high-availability.md).',
  },
  'SLV-2186': {
    status: 400,
    title: 'Backup can not be opened',
    fix: 'Give the passphrase that it was made with; if that is right, the file is damaged or of another release: take another backup.',
  },
  'SLV-2187': {
    status: 409,
    title: 'Nothing is restored over a CA',
    fix: 'Restore into an empty or new directory; move what is there away first, and keep it until the mesh is well.',
  },
  'SLV-2188': {
    status: 500,
    title: 'Keys of the CA not here',
    fix: 'The embedded CA of this mesh was made by another process: share its `<data-dir>/ca`, or copy it (0600), into the data directory of this one. It never makes a second root by itself.',
  },
  'SLV-2189': {
    status: 409,
    title: 'Another operator token',
    fix: 'Remove the `operator.token` of this data directory, and the one of the mesh holds here too; or start once with --replace-operator-token, and this one holds for all processes of the mesh.',
  },
  'SLV-2190': {
    status: 400,
    title: 'Federation not possible',
    fix: 'Correct what the message names: another trust domain than our own, an https URL without user or fragment, and for https_spiffe the ID of the endpoint and a first bundle.',
  },
  'SLV-2191': {
    status: 409,
    title: 'Already federated',
    fix: 'Delete the relationship first: `selvedge identity federation delete TRUST-DOMAIN`.',
  },
  'SLV-2192': {
    status: 404,
    title: 'Not federated',
    fix: 'List the relationships with `selvedge identity federation list`.',
  },
  'SLV-2193': {
    status: 502,
    title: 'Foreign bundle not taken',
    fix: 'The last one stays in use and the next attempt comes at the refresh hint. The message says why; ask the other side, or correct the relationship.',
  },
  'SLV-2195': {
    status: 401,
    title: 'JWT-SVID refused',
    fix: 'Present a JWT-SVID that was issued for this audience and has not expired; the message names the rule that this one broke.',
  },
} as const;
