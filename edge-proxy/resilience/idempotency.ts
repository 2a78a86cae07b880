/**
 * True for methods whose repetition has the effect of one call (RFC 9110 9.2.2): a try that may have reached the application can be
 * made again. Case counts: `get` is another method.
 */
export function isIdempotent(method: string): boolean {
  switch (method) {
    case 'GET':
    case 'HEAD':
    case 'OPTIONS':
    case 'PUT':
    case 'DELETE':
    case 'TRACE':
      return true;
    default:
      return false;
  }
}
