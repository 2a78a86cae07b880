import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { benchRequests, grpcMessage, type Launch } from './hop.ts';

/**
 * The application behind every subject where HTTP/2 is spoken: nghttpd, one worker, some 6 µs a request. nginx is none for gRPC: it answers before it has read a
 * request, and resets each stream for the rest.
 */
export function nghttpdApplication(binary: string, directory: string, mode: 'http2' | 'grpc', port: number): Launch {
  const root = join(directory, `nghttpd-${mode}`);
  const file = join(root, benchRequests[mode].path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, grpcMessage);
  const types = join(directory, `nghttpd-${mode}.types`);
  writeFileSync(types, 'application/grpc grpc\n');
  const trailers = mode === 'grpc' ? ['--no-content-length', '--trailer', 'grpc-status: 0'] : [];
  return {
    file: binary,
    args: ['--no-tls', '-a', '127.0.0.1', '-d', root, `--mime-types-file=${types}`, ...trailers, String(port)],
  };
}
