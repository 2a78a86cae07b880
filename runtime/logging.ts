import { type Logger, pino } from 'pino';

export type { Logger };

/** Log levels that `--log-level` takes. */
export const logLevels = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof logLevels)[number];

/**
 * JSON lines on standard error (standard output is for data). Fields that could hold a secret are redacted by name as a
 * second line of defence; the first is that nobody passes them.
 *
 * @param options.process which process speaks: `identity`, `catalog`, `edge-proxy`, `dev`
 */
export function createLogger(options: { process: string; level?: LogLevel }): Logger {
  return pino(
    {
      level: options.level ?? 'info',
      base: { process: options.process },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: {
        paths: [
          'token',
          '*.token',
          'secret',
          '*.secret',
          'authorization',
          'headers.authorization',
          'headers["x-consul-token"]',
          'headers["x-vault-token"]',
        ],
        censor: '[redacted]',
      },
      serializers: { err: describeError },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}

/** An error as it may be logged: code, message and the messages of its causes. No stack: it names files, not reasons. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return { message: String(error) };
  const causes: string[] = [];
  let cause: unknown = error.cause;
  while (cause instanceof Error && causes.length < 5) {
    causes.push(cause.message);
    cause = cause.cause;
  }
  return {
    code: 'code' in error ? error.code : undefined,
    message: error.message,
    ...(causes.length > 0 ? { causes } : {}),
  };
}
