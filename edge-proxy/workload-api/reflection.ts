import { type ServerDuplexStream, status } from '@grpc/grpc-js';
import { encodeFileDescriptor, type ProtoFile, symbolsOf } from '#runtime/protobuf/descriptor.ts';
import type { MessageInput, MessageOf } from '#runtime/protobuf/message.ts';
import type { OpenStreams } from './open-streams.ts';
import { statusOf } from './rpc-error.ts';
import type { Serving } from './state-stream.ts';
import type { reflectionProtocol } from './wire/grpc-reflection.ts';

type Protocol = ReturnType<typeof reflectionProtocol>;
type Request = MessageOf<Protocol['request']>;
type Response = MessageInput<Protocol['response']>;

/** What server reflection knows: the given files and all that they import. */
export class Reflection {
  readonly #files = new Map<string, ProtoFile>();
  readonly #bySymbol = new Map<string, ProtoFile>();

  constructor(files: readonly ProtoFile[]) {
    for (const file of files) this.#add(file);
  }

  #add(file: ProtoFile): void {
    this.#files.set(file.name, file);
    for (const symbol of symbolsOf(file)) this.#bySymbol.set(symbol, file);
    for (const imported of file.imports ?? []) this.#add(imported);
  }

  /** Answers one request of ServerReflectionInfo. */
  answer(request: Request): Response {
    const about = { validHost: request.host, originalRequest: request };
    if (request.listServices !== undefined) {
      const services = [...this.#files.values()].flatMap(({ services = [] }) => services);
      return { ...about, listServicesResponse: { service: services.map(({ fullName }) => ({ name: fullName })) } };
    }
    const file =
      request.fileByFilename === undefined
        ? this.#bySymbol.get(request.fileContainingSymbol ?? '')
        : this.#files.get(request.fileByFilename);
    if (file === undefined)
      return { ...about, errorResponse: { errorCode: status.NOT_FOUND, errorMessage: 'nothing of this name here' } };
    // The file and what it needs, once each, in the order in which a reader can link them.
    return { ...about, fileDescriptorResponse: { fileDescriptorProto: withImports(file).map(encodeFileDescriptor) } };
  }

  /** A handler of ServerReflectionInfo, v1 or v1alpha: their messages are alike. */
  handler({ streams, log }: Serving): (call: ServerDuplexStream<Request, Response>) => void {
    return (call) => this.#serve(call, streams, log);
  }

  #serve(call: ServerDuplexStream<Request, Response>, streams: OpenStreams, log: Serving['log']): void {
    try {
      const leave = streams.admit((error) => call.emit('error', statusOf(error, log)));
      call.on('cancelled', leave);
      call.on('close', leave);
    } catch (error) {
      call.emit('error', statusOf(error, log));
      return;
    }
    call.on('data', (request: Request) => {
      if (call.write(this.answer(request))) return;
      call.pause();
      call.once('drain', () => call.resume());
    });
    call.on('end', () => call.end());
  }
}

function withImports(file: ProtoFile): ProtoFile[] {
  const files = new Set<ProtoFile>();
  for (const imported of file.imports ?? []) for (const needed of withImports(imported)) files.add(needed);
  return [...files, file];
}
