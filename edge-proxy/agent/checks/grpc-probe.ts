import type { ClientHttp2Session, ClientHttp2Stream, IncomingHttpHeaders, IncomingHttpStatusHeader } from 'node:http2';
import { healthCheckRequest, healthCheckResponse, serving, servingStatusName } from './grpc-health.ts';
import { formatGrpcTarget, type GrpcTarget } from './grpc-target.ts';
import { formatHostPort } from './host-port.ts';
import { onHttp2Session } from './http2-session.ts';
import type { Probe } from './probe.ts';

/**
 * Passes when the server answers SERVING. One unary call, spoken here: the connection then goes to the address that was judged, and an answer is never
 * larger than this one can be.
 */
export function grpcProbe(target: GrpcTarget): Probe {
  return async (signal) => {
    const body = await onHttp2Session(target, target.tls, signal, (session) => check(session, target));
    const { status } = healthCheckResponse.decode(body);
    const name = formatGrpcTarget(target);
    if (status === serving) return { status: 'passing', output: `gRPC check ${name}: success` };
    return { status: 'critical', output: `gRPC ${name} serving status: ${servingStatusName(status)}` };
  };
}

/** Flag and length before each message of gRPC over HTTP/2. */
const prefixBytes = 5;
const maxMessageBytes = 1024;

async function check(session: ClientHttp2Session, target: GrpcTarget): Promise<Uint8Array> {
  const message = healthCheckRequest.encode({ service: target.service });
  const prefix = Buffer.alloc(prefixBytes);
  prefix.writeUInt32BE(message.length, 1);
  const stream = session.request({
    ':method': 'POST',
    ':path': '/grpc.health.v1.Health/Check',
    ':scheme': target.tls === undefined ? 'http' : 'https',
    ':authority': formatHostPort(target),
    'content-type': 'application/grpc',
    'user-agent': 'Consul Health Check',
    te: 'trailers',
  });
  stream.end(Buffer.concat([prefix, message]));
  return answerOf(stream);
}

/** The one message of the answer. Rejects with gRPC's status, or because it is no gRPC. */
async function answerOf(stream: ClientHttp2Stream): Promise<Uint8Array> {
  let headers: IncomingHttpHeaders & IncomingHttpStatusHeader = {};
  stream.on('response', (received) => {
    headers = received;
  });
  // An answer without a body has its status in the headers themselves.
  stream.on('trailers', (received) => {
    headers = { ...headers, ...received };
  });
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    length += chunk.length;
    if (length > prefixBytes + maxMessageBytes) throw new Error('the answer is too large for a health check');
  }
  if (headers[':status'] !== 200) throw new Error(`HTTP status ${headers[':status']}, which is no gRPC`);
  const code = headers['grpc-status'];
  if (code !== '0') throw new Error(`rpc error: code = ${codeName(code)} desc = ${described(headers['grpc-message'])}`);
  const body = Buffer.concat(chunks);
  if (body.length < prefixBytes || body[0] !== 0 || body.readUInt32BE(1) !== body.length - prefixBytes)
    throw new Error('the answer is no message of gRPC');
  return body.subarray(prefixBytes);
}

/** grpc-message is percent-encoded. */
function described(text: unknown): string {
  if (typeof text !== 'string') return '';
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // Not encoded as it should be: still better than nothing.
  }
}

/** The names of Go's codes package, which people search for; those that a health check meets. */
const codeNames: Readonly<Record<string, string>> = {
  '1': 'Canceled',
  '4': 'DeadlineExceeded',
  '5': 'NotFound',
  '7': 'PermissionDenied',
  '8': 'ResourceExhausted',
  '12': 'Unimplemented',
  '13': 'Internal',
  '14': 'Unavailable',
  '16': 'Unauthenticated',
};

function codeName(code: unknown): string {
  return typeof code === 'string' ? (codeNames[code] ?? code) : 'Unknown';
}
