import {
  bool,
  type EnumType,
  type Field,
  type Fields,
  type FieldType,
  int32,
  type MessageInput,
  type MessageType,
  many,
  manyOf,
  message,
  one,
  type Scalar,
  string,
} from './message.ts';
import type { Service } from './service.ts';

/** A .proto file: what server reflection tells of. */
export interface ProtoFile {
  /** As others import it: `google/protobuf/any.proto`. */
  readonly name: string;
  /** '' for none. */
  readonly package: string;
  readonly imports?: readonly ProtoFile[];
  /** A message named within another (`A.B`) stands in it. */
  readonly messages?: readonly MessageType<object, object>[];
  readonly enums?: readonly EnumType[];
  readonly services?: readonly Service[];
}

/** Numbers of google.protobuf.FieldDescriptorProto.Type. */
const typeNumbers: Readonly<Record<Scalar, number>> = { double: 1, int64: 3, int32: 5, bool: 8, string: 9, bytes: 12 };
const typeMessage = 11;
const typeEnum = 14;
const labelOptional = 1;
const labelRepeated = 3;

// Field numbers of google/protobuf/descriptor.proto, the part that is needed.
const fieldDescriptor = message('google.protobuf.FieldDescriptorProto', {
  name: string(1),
  number: int32(3),
  label: int32(4),
  type: int32(5),
  typeName: string(6),
  oneofIndex: int32(9),
  jsonName: string(10),
});
const oneofDescriptor = message('google.protobuf.OneofDescriptorProto', { name: string(1) });
const messageOptions = message('google.protobuf.MessageOptions', { mapEntry: bool(7) });
interface DescriptorInput {
  readonly name: string;
  readonly field: readonly MessageInput<typeof fieldDescriptor>[];
  readonly nestedType?: readonly DescriptorInput[];
  readonly options?: MessageInput<typeof messageOptions>;
  readonly oneofDecl?: readonly MessageInput<typeof oneofDescriptor>[];
}
const messageDescriptor: MessageType<object, DescriptorInput> = message('google.protobuf.DescriptorProto', {
  name: string(1),
  field: many(2, () => fieldDescriptor),
  nestedType: many(3, () => messageDescriptor),
  options: one(7, () => messageOptions),
  oneofDecl: many(8, () => oneofDescriptor),
});
const enumValueDescriptor = message('google.protobuf.EnumValueDescriptorProto', { name: string(1), number: int32(2) });
const enumDescriptor = message('google.protobuf.EnumDescriptorProto', {
  name: string(1),
  value: many(2, () => enumValueDescriptor),
});
const methodDescriptor = message('google.protobuf.MethodDescriptorProto', {
  name: string(1),
  inputType: string(2),
  outputType: string(3),
  clientStreaming: bool(5),
  serverStreaming: bool(6),
});
const serviceDescriptor = message('google.protobuf.ServiceDescriptorProto', {
  name: string(1),
  method: many(2, () => methodDescriptor),
});
const fileDescriptor = message('google.protobuf.FileDescriptorProto', {
  name: string(1),
  package: string(2),
  dependency: manyOf(3, 'string'),
  messageType: many(4, () => messageDescriptor),
  enumType: many(5, () => enumDescriptor),
  service: many(6, () => serviceDescriptor),
  syntax: string(12),
});

/** A google.protobuf.FileDescriptorProto, encoded. */
export function encodeFileDescriptor(file: ProtoFile): Uint8Array {
  const { messages = [], enums = [], services = [], imports = [] } = file;
  return fileDescriptor.encode({
    name: file.name,
    package: file.package,
    dependency: imports.map(({ name }) => name),
    messageType: messages
      .filter(({ fullName }) => parentOf(fullName) === file.package)
      .map((type) => describeMessage(type, messages)),
    enumType: enums.map(({ enumName, values }) => ({
      name: lastPart(enumName),
      value: Object.entries(values).map(([name, number]) => ({ name, number })),
    })),
    service: services.map(describeService),
    syntax: 'proto3',
  });
}

/** Full names of all that a file defines: its services and their methods, messages, enums. */
export function symbolsOf(file: ProtoFile): string[] {
  return [
    ...(file.messages ?? []).map(({ fullName }) => fullName),
    ...(file.enums ?? []).map(({ enumName }) => enumName),
    ...(file.services ?? []).flatMap(({ fullName, methods }) => [
      fullName,
      ...Object.keys(methods).map((name) => `${fullName}.${name}`),
    ]),
  ];
}

function describeMessage(
  type: MessageType<object, object>,
  messages: readonly MessageType<object, object>[],
): DescriptorInput {
  const { fullName, fields } = type;
  const oneofs = [...new Set(Object.values(fields).flatMap(({ oneof }) => oneof ?? []))];
  return {
    name: lastPart(fullName),
    field: Object.entries(fields).map(([name, field]) => describeField(fullName, name, field, oneofs)),
    nestedType: [
      ...messages
        .filter((other) => parentOf(other.fullName) === fullName)
        .map((other) => describeMessage(other, messages)),
      ...mapEntries(fullName, fields),
    ],
    oneofDecl: oneofs.map((name) => ({ name })),
  };
}

function describeField(
  owner: string,
  name: string,
  { number, type, shape, oneof }: Field<unknown>,
  oneofs: readonly string[],
): MessageInput<typeof fieldDescriptor> {
  return {
    name: snakeCase(name),
    number,
    label: shape === 'one' ? labelOptional : labelRepeated,
    jsonName: name,
    ...(shape === 'map' ? { type: typeMessage, typeName: `.${owner}.${entryName(name)}` } : describeType(type)),
    ...(oneof === undefined ? {} : { oneofIndex: oneofs.indexOf(oneof) }),
  };
}

function describeType(type: FieldType): { readonly type: number; readonly typeName?: string } {
  if (typeof type === 'function') return { type: typeMessage, typeName: `.${type().fullName}` };
  if (typeof type === 'object') return { type: typeEnum, typeName: `.${type.enumName}` };
  return { type: typeNumbers[type] };
}

function mapEntries(owner: string, fields: Fields): DescriptorInput[] {
  return Object.entries(fields)
    .filter(([, { shape }]) => shape === 'map')
    .map(([name, { type }]) => ({
      name: entryName(name),
      field: [
        describeField(owner, 'key', string(1), []),
        describeField(owner, 'value', { number: 2, type, shape: 'one' }, []),
      ],
      options: { mapEntry: true },
    }));
}

function describeService({ fullName, methods }: Service): MessageInput<typeof serviceDescriptor> {
  return {
    name: lastPart(fullName),
    method: Object.entries(methods).map(([name, { kind, request, response }]) => ({
      name,
      inputType: `.${request.fullName}`,
      outputType: `.${response.fullName}`,
      clientStreaming: kind === 'both-stream',
      serverStreaming: kind !== 'unary',
    })),
  };
}

function parentOf(fullName: string): string {
  return fullName.slice(0, Math.max(0, fullName.lastIndexOf('.')));
}

function lastPart(fullName: string): string {
  return fullName.slice(fullName.lastIndexOf('.') + 1);
}

function snakeCase(camelCase: string): string {
  return camelCase.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** `federatedBundles` -> `FederatedBundlesEntry`, as protoc names the entry of a map. */
function entryName(camelCase: string): string {
  return `${camelCase.charAt(0).toUpperCase()}${camelCase.slice(1)}Entry`;
}
