import type { LeafFacts } from './certificate.ts';
import { MeshError } from './errors/mesh-error.ts';
import { parseSpiffeId, pathOf, type SpiffeId } from './spiffe-id.ts';

export { type KeyUsage, type LeafFacts, readCertificate } from './certificate.ts';

/** id-kp-serverAuth and id-kp-clientAuth (RFC 5280 4.2.1.12). */
export const extendedKeyUsageOid = { serverAuth: '1.3.6.1.5.5.7.3.1', clientAuth: '1.3.6.1.5.5.7.3.2' } as const;

/**
 * The SPIFFE ID of a leaf that keeps every rule of X509-SVID (sections 2, 4 and 5.2): exactly one URI SAN, an ID with a path; SAN critical where the
 * subject is empty; not a CA; KeyUsage present and critical with digitalSignature and without keyCertSign and cRLSign; an EKU, where there is one,
 * with serverAuth and clientAuth. Who signed it, and when it is valid, is not looked at.
 * @throws MeshError SLV-5003 naming the rule, also where the ID itself is malformed
 */
export function svidIdOf(facts: LeafFacts): SpiffeId {
  const [uri, ...more] = facts.uriSans;
  if (uri === undefined) throw broken('certificate contains no URI SAN');
  if (more.length > 0) throw broken('certificate contains more than one URI SAN');
  const id = readId(uri);
  if (pathOf(id) === '') throw broken('the SPIFFE ID of a leaf certificate must have a path');
  if (facts.subjectEmpty && !facts.sanCritical) throw broken('the SAN must be critical when the subject is empty');
  if (facts.isCa) throw broken('leaf certificate must not have CA flag set to true');
  const usage = facts.keyUsage;
  if (usage === undefined) throw broken('leaf certificate must have the key usage extension');
  if (!facts.keyUsageCritical) throw broken('the key usage extension must be critical');
  if (usage.keyCertSign) throw broken("leaf certificate must not have 'keyCertSign' set as key usage");
  if (usage.crlSign) throw broken("leaf certificate must not have 'cRLSign' set as key usage");
  if (!usage.digitalSignature) throw broken("leaf certificate must have 'digitalSignature' set as key usage");
  const purposes = facts.extendedKeyUsage;
  if (purposes !== undefined) {
    for (const [name, oid] of Object.entries(extendedKeyUsageOid)) {
      if (!purposes.includes(oid)) throw broken(`extended key usage is present and lacks '${name}'`);
    }
  }
  return id;
}

function readId(uri: string): SpiffeId {
  try {
    return parseSpiffeId(uri);
  } catch (error) {
    const flaw = error instanceof MeshError ? error.message : 'its URI SAN is no SPIFFE ID.';
    throw new MeshError('SLV-5003', `Not an X.509-SVID: ${flaw}`, { cause: error });
  }
}

function broken(rule: string): MeshError {
  return new MeshError('SLV-5003', `Not an X.509-SVID: ${rule}.`);
}
