/** What OpenSSL says of a chain that leads to no root which is trusted here, as Node writes it. */
const withoutRoot: ReadonlySet<string> = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
]);

/** Why a connection failed, by the code of Node's error: a server whose CA is not known here is another trouble than one that is away. */
export function connectFailure(code: string): string {
  return withoutRoot.has(code) ? `its certificate is of no CA that is trusted here (${code})` : code;
}
