/** SLV-5nnn: names, SPIFFE IDs, intentions, paths, resilience policy. */
export const policyErrors = {
  'SLV-5001': {
    status: 400,
    title: 'Not a SPIFFE ID',
    fix: 'A SPIFFE ID is spiffe://trust-domain/path: lower-case trust domain, path segments of letters, digits, dot, dash, underscore.',
  },
  'SLV-5002': {
    status: 400,
    title: 'Not a valid name',
    fix: 'Names are 1 to 128 letters, digits, dots, dashes and underscores, beginning and ending with a letter or digit.',
  },
  'SLV-5003': {
    status: 400,
    title: 'Not an X.509-SVID',
    fix: 'The certificate breaks a rule of SPIFFE X509-SVID; the message names it.',
  },
  'SLV-5004': {
    status: 400,
    title: 'Invalid intention',
    fix: 'Correct the field that the message names; docs/intentions.md shows the forms.',
  },
  'SLV-5005': {
    status: 400,
    title: 'Invalid resilience policy',
    fix: 'Correct the field that the message names; docs/resilience.md lists the fields, their units and their limits.',
  },
  'SLV-5006': {
    status: 400,
    title: 'Not a SPIFFE bundle',
    fix: 'A SPIFFE bundle is a JWKS document whose x509-svid keys hold one certificate each; the message names the flaw.',
  },
  'SLV-5007': {
    status: 400,
    title: 'Malformed DER',
    fix: 'The bytes are not strict DER; the message says where. Check that the file is complete and of the right kind.',
  },
  'SLV-5009': {
    status: 400,
    title: 'Not JSON that has one meaning',
    fix: 'Send valid JSON in which no object names a key twice.',
  },
  'SLV-5010': {
    status: 400,
    title: 'Not a usable JSON Web Key Set',
    fix: 'A key set is {"keys": [...]} of at most 64 KiB with public keys for signatures: EC P-256, P-384 or P-521, RSA from 2048 bits, Ed25519. In a jwt-provider entry it stands base64-encoded in JSONWebKeySet.Local.JWKS, or JSONWebKeySet.Remote.URI says where it is.',
  },
} as const;
