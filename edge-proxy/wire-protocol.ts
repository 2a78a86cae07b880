import type { ServiceProtocol } from '#policies/intention.ts';

/** What the connections of a service carry. */
export type WireProtocol = 'bytes' | 'HTTP/1.1' | 'HTTP/2';

/** What is spoken to a service of this protocol: gRPC is HTTP/2. */
export function wireOf(protocol: ServiceProtocol): WireProtocol {
  switch (protocol) {
    case 'tcp':
      return 'bytes';
    case 'http':
      return 'HTTP/1.1';
    case 'http2':
    case 'grpc':
      return 'HTTP/2';
  }
}
