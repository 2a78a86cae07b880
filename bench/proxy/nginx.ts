import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClientSide, Launch, Mode, Peer, ServerSide } from './hop.ts';
import { benchRequests, isHttp2 } from './hop.ts';

/** An nginx on this machine. */
export interface NginxBinary {
  readonly file: string;
  /** Where `stream` is a dynamic module: its file. */
  readonly streamModule: string | undefined;
}

/** What the application answers, by path, in bytes. All paths lie below the one that is allowed. */
export const replies = { '/orders': 100, '/orders/16k': 16_384, '/orders/bulk': 67_108_864 } as const;

/** Connections live on: the defaults of 1,000 requests a connection would add handshakes that no other subject makes. */
const keepAlive = 'keepalive_timeout 1h;\n  keepalive_requests 1000000000;';

/**
 * What its makers say against slow heads and bodies ("Mitigating DDoS Attacks with NGINX"). What they say of HTTP/2 is its defaults: 128 streams at once, 1,000 requests a connection.
 * Their limits for an address are left out: the good client comes from the same.
 */
const atEdge = 'client_header_timeout 5s;\n  client_body_timeout 5s;';

/** nginx, one worker. */
export function nginx(binary: NginxBinary): Peer {
  return {
    name: 'nginx',
    note:
      'worker_processes 1; client identity by the subject of the leaf (map of $ssl_client_s_dn; nginx reads no URI SAN), server ' +
      'identity by its DNS SAN (proxy_ssl_name, grpc_ssl_name); upstream keep-alive 64, by HTTP/2 one request at a time on each (grpc_pass); TLS sessions resumed',
    clientSide: (options) => launch(binary, options.directory, options.mode, clientConfiguration(options)),
    serverSide: (options) => launch(binary, options.directory, options.mode, serverConfiguration(options)),
  };
}

/** The application behind every subject: nginx that answers at once. */
export function nginxApplication(binary: NginxBinary, directory: string, port: number): Launch {
  const files = (['/orders/16k', '/orders/bulk'] as const).map((path) => {
    const file = join(directory, path.replaceAll('/', '-'));
    writeFileSync(file, Buffer.alloc(replies[path], 'x'));
    return `    location = ${path} { alias ${file}; }`;
  });
  const body = `  ${keepAlive}
  server {
    listen 127.0.0.1:${port} backlog=4096;
    default_type text/plain;
    sendfile on;
    open_file_cache max=8;
    location / { return 200 "${'x'.repeat(replies['/orders'])}"; }
${files.join('\n')}
  }`;
  return launch(binary, directory, 'http', body);
}

function launch(binary: NginxBinary, directory: string, mode: Mode, body: string): Launch {
  const file = join(directory, 'nginx.conf');
  mkdirSync(join(directory, 'temp'), { recursive: true });
  const needsModule = mode === 'tcp' && binary.streamModule !== undefined;
  const http = `  access_log off;
${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `  ${kind}_temp_path ${directory}/temp/${kind};`).join('\n')}
`;
  writeFileSync(
    file,
    `${needsModule ? `load_module ${binary.streamModule};\n` : ''}daemon off;
${process.getuid?.() === 0 ? 'user root; # its files lie in a directory that only we may enter\n' : ''}worker_processes 1;
pid ${directory}/nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
${mode === 'tcp' ? 'stream' : 'http'} {
${mode === 'tcp' ? '' : http}${body}
}
`,
  );
  return { file: binary.file, args: ['-p', directory, '-c', file, '-e', 'stderr'] };
}

function clientConfiguration(o: ClientSide): string {
  const module = isHttp2(o.mode) ? 'grpc' : 'proxy';
  const tls = `${module}_ssl_certificate ${o.own.certificateFile};
    ${module}_ssl_certificate_key ${o.own.keyFile};
    ${module}_ssl_trusted_certificate ${o.caFile};
    ${module}_ssl_verify on;
    ${module}_ssl_name ${o.expected.dnsName};
    ${module}_ssl_protocols TLSv1.3;`;
  if (o.mode === 'tcp') {
    return `  upstream db { server 127.0.0.1:${o.serverPort}; }
  server {
    listen 127.0.0.1:${o.listenPort} backlog=4096;
    proxy_pass db;
    proxy_ssl on;
    ${tls}
  }`;
  }
  return `  ${o.edge ? atEdge : keepAlive}
  upstream db { server 127.0.0.1:${o.serverPort}; keepalive 64; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${o.listenPort}${isHttp2(o.mode) ? ' http2' : ''} backlog=4096;
    ${tls}
    location / {
      ${passTo(o.mode, 'db', true)}
    }
  }`;
}

function serverConfiguration(o: ServerSide): string {
  const subject = `CN=${o.allowed.service}`;
  const tls = `listen 127.0.0.1:${o.listenPort} ssl${isHttp2(o.mode) || o.edge ? ' http2' : ''} backlog=4096;
    ssl_certificate ${o.own.certificateFile};
    ssl_certificate_key ${o.own.keyFile};
    ssl_client_certificate ${o.caFile};
    ssl_verify_client on;
    ssl_protocols TLSv1.3;
    ssl_session_cache shared:sessions:10m;`;
  if (o.mode === 'tcp') {
    // Whoever is not mapped gets an upstream that does not exist: nginx closes the connection.
    return `  map $ssl_client_s_dn $permitted { "${subject}" application; default ""; }
  upstream application { server 127.0.0.1:${o.applicationPort}; }
  server {
    ${tls}
    proxy_pass $permitted;
  }`;
  }
  const { method, path } = benchRequests[o.mode];
  return `  ${o.edge ? atEdge : keepAlive}
  map "$ssl_client_s_dn $request_method" $permitted { "${subject} ${method}" 1; default 0; }
  upstream application { server 127.0.0.1:${o.applicationPort}; keepalive 64; keepalive_requests 1000000000; }
  server {
    ${tls}
    location / { return 403; }
    location ${path} {
      if ($permitted = 0) { return 403; }
      ${passTo(o.mode, 'application', false)}
    }
  }`;
}

/** HTTP/2 goes on as such by the module for gRPC alone, whatever it carries. */
function passTo(mode: Mode, upstream: string, secure: boolean): string {
  if (isHttp2(mode)) return `grpc_pass ${secure ? 'grpcs' : 'grpc'}://${upstream};`;
  return `proxy_pass ${secure ? 'https' : 'http'}://${upstream};
      proxy_http_version 1.1;
      proxy_set_header Connection "";`;
}
