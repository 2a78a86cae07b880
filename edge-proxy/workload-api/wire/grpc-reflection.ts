import type { ProtoFile } from '#runtime/protobuf/descriptor.ts';
import { choice, int32, many, manyOf, message, one, string } from '#runtime/protobuf/message.ts';
import { method, type Service } from '#runtime/protobuf/service.ts';

/** gRPC server reflection on the wire. Source: github.com/grpc/grpc-proto, grpc/reflection/v1/reflection.proto; v1alpha is the same under another name. */
export function reflectionProtocol(version: 'v1' | 'v1alpha') {
  const name = `grpc.reflection.${version}`;
  const extensionRequest = message(`${name}.ExtensionRequest`, {
    containingType: string(1),
    extensionNumber: int32(2),
  });
  const request = message(`${name}.ServerReflectionRequest`, {
    host: string(1),
    fileByFilename: choice('message_request', string(3)),
    fileContainingSymbol: choice('message_request', string(4)),
    fileContainingExtension: choice(
      'message_request',
      one(5, () => extensionRequest),
    ),
    allExtensionNumbersOfType: choice('message_request', string(6)),
    listServices: choice('message_request', string(7)),
  });
  const fileResponse = message(`${name}.FileDescriptorResponse`, { fileDescriptorProto: manyOf(1, 'bytes') });
  const serviceResponse = message(`${name}.ServiceResponse`, { name: string(1) });
  const listResponse = message(`${name}.ListServiceResponse`, { service: many(1, () => serviceResponse) });
  const errorResponse = message(`${name}.ErrorResponse`, { errorCode: int32(1), errorMessage: string(2) });
  const response = message(`${name}.ServerReflectionResponse`, {
    validHost: string(1),
    originalRequest: one(2, () => request),
    fileDescriptorResponse: choice(
      'message_response',
      one(4, () => fileResponse),
    ),
    listServicesResponse: choice(
      'message_response',
      one(6, () => listResponse),
    ),
    errorResponse: choice(
      'message_response',
      one(7, () => errorResponse),
    ),
  });
  const service = {
    fullName: `${name}.ServerReflection`,
    methods: { ServerReflectionInfo: method('both-stream', request, response) },
  } satisfies Service;
  const file: ProtoFile = {
    name: `grpc/reflection/${version}/reflection.proto`,
    package: name,
    messages: [request, extensionRequest, response, fileResponse, serviceResponse, listResponse, errorResponse],
    services: [service],
  };
  return { service, file, request, response };
}
