import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ClientSide, Launch, Mode, Peer, ServerSide } from './hop.ts';
import { benchRequests, isHttp2 } from './hop.ts';

/** HAProxy, one thread. `http-reuse always`: otherwise each new client connection would shake hands in HTTP mode too. */
export function haproxy(binary: string): Peer {
  return {
    name: 'haproxy',
    note:
      'nbthread 1; client identity by the URI SAN in the leaf (ssl_c_der, once a connection), server identity by its DNS SAN ' +
      '(verifyhost; it checks no URI SAN of a server); http-reuse always; TLS sessions resumed',
    clientSide: (options) => launch(binary, options.directory, clientConfiguration(options)),
    serverSide: (options) => launch(binary, options.directory, serverConfiguration(options)),
  };
}

function launch(binary: string, directory: string, configuration: string): Launch {
  const file = join(directory, 'haproxy.cfg');
  writeFileSync(file, configuration);
  return { file: binary, args: ['-db', '-f', file] };
}

const common = ({ mode, edge }: ClientSide | ServerSide) => `global
  nbthread 1
  maxconn 4096
  ssl-default-bind-options ssl-min-ver TLSv1.3
  ssl-default-server-options ssl-min-ver TLSv1.3
defaults
  mode ${mode === 'tcp' ? 'tcp' : 'http'}
  timeout connect 5s
  timeout client 60s
  timeout server 60s
${mode === 'tcp' ? '' : '  option http-keep-alive\n  http-reuse always\n'}${edge ? atEdge : ''}`;

/** What its makers say against slow heads and slow bodies ("Application-Layer DDoS Attack Protection with HAProxy"). What they say of HTTP/2 is its default: 100 streams at once. */
const atEdge = '  timeout http-request 5s\n  option http-buffer-request\n';

/** HTTP/2 without TLS, by prior knowledge; and with TLS, where both sides have to agree on it. */
const plain = (mode: Mode) => (isHttp2(mode) ? ' proto h2' : '');
const agreed = (mode: Mode) => (isHttp2(mode) ? ' alpn h2' : '');

function clientConfiguration(o: ClientSide): string {
  const tls = `ssl crt ${o.own.certificateFile} ca-file ${o.caFile} verify required verifyhost ${o.expected.dnsName}${agreed(o.mode)}`;
  return `${common(o)}
frontend outbound
  bind 127.0.0.1:${o.listenPort}${plain(o.mode)}
  default_backend db
backend db
  server db 127.0.0.1:${o.serverPort} ${tls}
`;
}

function serverConfiguration(o: ServerSide): string {
  const { method, path } = benchRequests[o.mode];
  const rule = `http-request deny unless { method ${method} } { path_beg ${path} }`;
  return `${common(o)}
frontend inbound
  bind 127.0.0.1:${o.listenPort} ssl crt ${o.own.certificateFile} ca-file ${o.caFile} verify required${o.edge ? ' alpn h2,http/1.1' : agreed(o.mode)}
  tcp-request session reject unless { ssl_c_der,hex -m sub ${uriSanInHex(o.allowed.spiffeId)} }
  ${o.mode === 'tcp' ? '' : rule}
  default_backend application
backend application
  server application 127.0.0.1:${o.applicationPort}${plain(o.mode)}
`;
}

/** The GeneralName as it stands in the certificate's DER: context tag 6, length, bytes (RFC 5280 4.2.1.6). */
function uriSanInHex(uri: string): string {
  const bytes = Buffer.from(uri, 'latin1');
  if (bytes.length > 127) throw new Error('a URI SAN over 127 bytes has a longer length field');
  return Buffer.concat([Buffer.from([0x86, bytes.length]), bytes])
    .toString('hex')
    .toUpperCase();
}
