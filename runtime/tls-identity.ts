import { constants } from 'node:crypto';
import { isIP } from 'node:net';
import {
  type ConnectionOptions,
  connect,
  createSecureContext,
  type SecureContext,
  type SecureContextOptions,
  type TLSSocket,
  type TlsOptions,
} from 'node:tls';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { formatSocketAddress } from './socket-address.ts';
import type { Svid } from './svid/svid.ts';

/** A handshake that takes longer is given up: slow clients must not pile up (CVE-2020-7219). */
export const handshakeTimeoutMs = 5_000;

/**
 * Hybrid post-quantum key exchange first, where the OpenSSL in Node has it (3.5 and newer), so that what is recorded today stays secret; the classic
 * groups for peers without it.
 */
export const keyExchangeGroups: string = ['X25519MLKEM768:X25519:P-256', 'X25519:P-256'].find(isSupported) ?? 'auto';

function isSupported(ecdhCurve: string): boolean {
  try {
    createSecureContext({ ecdhCurve, ca: [] });
    return true;
  } catch {
    return false; // OpenSSL refuses the whole list for one unknown name
  }
}

/**
 * What both sides of every mesh connection have in common. `ca: []` and `rejectUnauthorized: false`: OpenSSL judges nobody, verifySocket judges
 * everybody, before a byte is read or written. (Node alone accepts leaves with two URI SANs, CA leaves and leaves of another trust domain's root.)
 * No ticket, and neither side ever offers or takes a session: a resumed one has no chain to judge.
 */
const common = {
  minVersion: 'TLSv1.3',
  ca: [],
  ecdhCurve: keyExchangeGroups,
  secureOptions: constants.SSL_OP_NO_TICKET,
  rejectUnauthorized: false,
} as const;

/** The oldest version of TLS that a server speaks. */
export type TlsVersion = '1.2' | '1.3';

/** Of TLS 1.2 only what has forward secrecy and authenticated encryption, as 1.3 has, and one handshake a connection: who was judged stays who is there. */
const fromTls12 = {
  minVersion: 'TLSv1.2',
  ciphers: [
    ...['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_128_GCM_SHA256'],
    ...['ECDHE+AESGCM', 'ECDHE+CHACHA20'],
  ].join(':'),
  secureOptions: common.secureOptions | constants.SSL_OP_NO_RENEGOTIATION,
} as const;

/** Options that a context is made of: also what `server.setSecureContext` takes for a rotation. */
export function secureContextOptions(svid: Svid | undefined, oldest: TlsVersion = '1.3'): SecureContextOptions {
  const { rejectUnauthorized: _, ...current } = common;
  const context = oldest === '1.2' ? { ...current, ...fromTls12 } : current;
  return svid === undefined ? { ...context, ca: [] } : { ...context, ca: [], key: svid.keyPem, cert: svid.chainPem };
}

/**
 * Options of a TLS server that shows `svid` and asks for, but does not insist on, a certificate: the caller refuses peers without one where it must.
 * Rotation: `server.setSecureContext(secureContextOptions(newSvid))`; connections that are open keep the SVID they shook hands with.
 */
export function serverTlsOptions(svid: Svid, oldest: TlsVersion = '1.3'): TlsOptions {
  return {
    ...common,
    ...(oldest === '1.2' ? fromTls12 : {}),
    ca: [],
    key: svid.keyPem,
    cert: svid.chainPem,
    requestCert: true,
    handshakeTimeout: handshakeTimeoutMs,
  };
}

/** One context per SVID: parsing key and chain costs more than the rest of a connect. */
const contexts = new WeakMap<Svid, SecureContext>();
let anonymousContext: SecureContext | undefined;

function clientContext(svid: Svid | undefined): SecureContext {
  if (svid === undefined) {
    anonymousContext ??= createSecureContext(secureContextOptions(undefined));
    return anonymousContext;
  }
  const known = contexts.get(svid);
  if (known !== undefined) return known;
  const context = createSecureContext(secureContextOptions(svid));
  contexts.set(svid, context);
  return context;
}

/** Options of a TLS client that shows `svid` when the server asks; host, port and ALPN are the caller's. Never pass `session` along with them. */
export function clientTlsOptions(svid: Svid | undefined): ConnectionOptions {
  return { secureContext: clientContext(svid), rejectUnauthorized: false };
}

/** Where and how to connect. */
export interface Dial {
  readonly host: string;
  readonly port: number;
  readonly svid?: Svid | undefined;
  readonly alpn?: readonly string[];
  /**
   * Judges the server when the handshake is finished, before a byte is written or read; throws to refuse.
   * verifySocket and the caller's expectation, in this order.
   */
  readonly judge: (socket: TLSSocket) => void;
  readonly signal?: AbortSignal | undefined;
}

/** Connects, shakes hands and has the server judged. Throws what `judge` throws, SLV-1006 when there is no connection, or the signal's reason. */
export function dialTls(dial: Dial): Promise<TLSSocket> {
  const { host, port, signal } = dial;
  const { promise, resolve, reject } = Promise.withResolvers<TLSSocket>();
  if (signal?.aborted) return Promise.reject(signal.reason);
  const socket = connect({
    ...clientTlsOptions(dial.svid),
    host,
    port,
    ...(dial.alpn === undefined ? {} : { ALPNProtocols: [...dial.alpn] }),
    ...(isIP(host) === 0 ? { servername: host } : {}),
  });
  const timer = setTimeout(() => socket.destroy(new Error('handshake timed out')), handshakeTimeoutMs);
  const onAbort = () => socket.destroy(new Error('aborted'));
  const onError = (cause: Error) => {
    const reason = 'code' in cause ? String(cause.code) : cause.message;
    const error = new MeshError('SLV-1006', `Cannot connect to ${formatSocketAddress({ host, port })}: ${reason}.`, {
      detail: { host, port, reason },
      cause,
    });
    reject(signal?.aborted ? signal.reason : error);
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  socket.once('error', onError);
  socket.once('secureConnect', () => {
    try {
      dial.judge(socket);
    } catch (error) {
      reject(error);
      socket.destroy();
      return;
    }
    socket.off('error', onError);
    resolve(socket);
  });
  socket.once('close', () =>
    reject(
      new MeshError('SLV-1006', `Cannot connect to ${formatSocketAddress({ host, port })}: it closed the connection.`),
    ),
  );
  return promise.finally(() => {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
  });
}
