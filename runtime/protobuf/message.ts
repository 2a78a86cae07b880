import { BinaryReader, BinaryWriter, WireType } from '@bufbuild/protobuf/wire';

/**
 * Protobuf messages written down once, as data: the codec and the descriptors of server reflection are both made of it. Of proto3 it has what the Workload
 * API, SDS and etcd's API use: strings, bytes, numbers, messages, lists and maps of them, oneofs. Fields that are not written down are passed over when reading.
 */

/** Scalar types, by their names in protobuf. */
interface Scalars {
  string: string;
  bytes: Uint8Array;
  bool: boolean;
  int32: number;
  int64: bigint;
  double: number;
}
export type Scalar = keyof Scalars;

/** An enum; its values are read and written as numbers. */
export interface EnumType {
  readonly enumName: string;
  readonly values: Readonly<Record<string, number>>;
}

/** What a field holds. A message is named by a function, so that messages may hold themselves. */
export type FieldType = Scalar | EnumType | (() => MessageType<object, object>);

/**
 * One field. `Out` is what reading gives: a scalar that was not sent is its default ('' or 0), a message or a member of a oneof is undefined. `In` is what
 * writing takes.
 */
export interface Field<Out, In = Out> {
  readonly number: number;
  readonly type: FieldType;
  readonly shape: 'one' | 'many' | 'map';
  /** Name of the oneof that it is a member of. */
  readonly oneof?: string;
  /** Never there: carries the types. */
  readonly carries?: { readonly out: Out; readonly in: In };
}

/** Fields by name, in camel case; the .proto has the same in snake case. */
export type Fields = Readonly<Record<string, Field<unknown>>>;
type OutOf<F extends Fields> = { readonly [K in keyof F]: F[K] extends Field<infer Out, infer _> ? Out : never };
type InOf<F extends Fields> = {
  readonly [K in keyof F]?: (F[K] extends Field<infer _, infer In> ? In : never) | undefined;
};

/** A message type. */
export interface MessageType<Out extends object, In extends object> {
  /** With its package: `envoy.config.core.v3.Node`. */
  readonly fullName: string;
  readonly fields: Fields;
  /** What is undefined is not written. */
  encode(message: In): Uint8Array<ArrayBuffer>;
  /** @throws Error when the bytes are no protobuf, hold text that is not UTF-8, or nest deeper than 64 */
  decode(bytes: Uint8Array, depth?: number): Out;
}

/** What reading a message of this type gives. */
export type MessageOf<T> = T extends MessageType<infer Out, object> ? Out : never;
/** What writing a message of this type takes. */
export type MessageInput<T> = T extends MessageType<object, infer In> ? In : never;

export const string = (number: number): Field<string> => ({ number, type: 'string', shape: 'one' });
export const bytes = (number: number): Field<Uint8Array> => ({ number, type: 'bytes', shape: 'one' });
export const bool = (number: number): Field<boolean> => ({ number, type: 'bool', shape: 'one' });
export const int32 = (number: number): Field<number> => ({ number, type: 'int32', shape: 'one' });
export const int64 = (number: number): Field<bigint> => ({ number, type: 'int64', shape: 'one' });
export const double = (number: number): Field<number> => ({ number, type: 'double', shape: 'one' });
export const enumeration = (number: number, type: EnumType): Field<number> => ({ number, type, shape: 'one' });

/** A message within a message. */
export function one<Out extends object, In extends object>(
  number: number,
  type: () => MessageType<Out, In>,
): Field<Out | undefined, In> {
  return { number, type, shape: 'one' };
}

/** A list of messages. */
export function many<Out extends object, In extends object>(
  number: number,
  type: () => MessageType<Out, In>,
): Field<readonly Out[], readonly In[]> {
  return { number, type, shape: 'many' };
}

/** A list of strings or byte strings. (Lists of numbers are packed on the wire; none is needed.) */
export function manyOf<S extends 'string' | 'bytes'>(number: number, type: S): Field<readonly Scalars[S][]> {
  return { number, type, shape: 'many' };
}

/** A map from strings to strings or byte strings. */
export function mapOf<S extends 'string' | 'bytes'>(number: number, type: S): Field<ReadonlyMap<string, Scalars[S]>> {
  return { number, type, shape: 'map' };
}

/** A map from strings to messages. */
export function map<Out extends object, In extends object>(
  number: number,
  type: () => MessageType<Out, In>,
): Field<ReadonlyMap<string, Out>, ReadonlyMap<string, In>> {
  return { number, type, shape: 'map' };
}

/** Makes a field a member of a oneof: of its members the one that was sent last is there, the others are undefined. */
export function choice<Out, In>(oneof: string, field: Field<Out, In>): Field<Out | undefined, In> {
  return { number: field.number, type: field.type, shape: field.shape, oneof };
}

/** Defines a message type. */
export function message<F extends Fields>(fullName: string, fields: F): MessageType<OutOf<F>, InOf<F>> {
  const byNumber = new Map(Object.entries(fields).map(([name, field]) => [field.number, { name, field }]));
  return {
    fullName,
    fields,
    encode(input) {
      const writer = new BinaryWriter();
      for (const [name, field] of Object.entries(fields)) {
        const value: unknown = input[name];
        if (value !== undefined) writeField(writer, field, value);
      }
      return writer.finish();
    },
    decode(bytes, depth = 0) {
      if (depth > deepest) throw new Error(`protobuf nests deeper than ${deepest}`);
      const message: Record<string, unknown> = {};
      for (const [name, field] of Object.entries(fields)) message[name] = absent(field);
      const reader = new BinaryReader(bytes);
      while (reader.pos < reader.len) {
        const [number, wireType] = reader.tag();
        const known = byNumber.get(number);
        if (known === undefined || wireType !== wireTypeOf(known.field)) reader.skip(wireType, number);
        else readField(reader, known.field, known.name, { fields, message, depth });
      }
      return message as OutOf<F>; // each field was set to what its type gives
    },
  };
}

const deepest = 64;

function wireTypeOf({ type, shape }: Field<unknown>): WireType {
  if (shape !== 'one' || type === 'string' || type === 'bytes' || typeof type === 'function')
    return WireType.LengthDelimited;
  return type === 'double' ? WireType.Bit64 : WireType.Varint;
}

function absent({ type, shape, oneof }: Field<unknown>): unknown {
  if (shape === 'many') return [];
  if (shape === 'map') return new Map();
  if (oneof !== undefined || typeof type === 'function') return undefined;
  if (type === 'string') return '';
  if (type === 'bytes') return new Uint8Array();
  if (type === 'int64') return 0n;
  return type === 'bool' ? false : 0;
}

function writeField(writer: BinaryWriter, field: Field<unknown>, value: unknown): void {
  if (field.shape === 'many') {
    for (const item of value as readonly unknown[]) writeOne(writer, field, item);
  } else if (field.shape === 'map') {
    // A map is a list of entries, { key = 1, value = 2 }.
    for (const [key, item] of value as ReadonlyMap<string, unknown>) {
      writer.tag(field.number, WireType.LengthDelimited).fork();
      writer.tag(1, WireType.LengthDelimited).string(key);
      writeOne(writer, { number: 2, type: field.type, shape: 'one' }, item);
      writer.join();
    }
  } else {
    writeOne(writer, field, value);
  }
}

/** The field builders see to it that a value is of its field's type. */
function writeOne(writer: BinaryWriter, { number, type }: Field<unknown>, value: unknown): void {
  writer.tag(number, wireTypeOf({ number, type, shape: 'one' }));
  if (typeof type === 'function') writer.bytes(type().encode(value as object));
  else if (type === 'string') writer.string(value as string);
  else if (type === 'bytes') writer.bytes(value as Uint8Array);
  else if (type === 'bool') writer.bool(value as boolean);
  else if (type === 'double') writer.double(value as number);
  else if (type === 'int64') writer.int64(value as bigint);
  else writer.int32(value as number);
}

interface Reading {
  readonly fields: Fields;
  readonly message: Record<string, unknown>;
  readonly depth: number;
}

function readField(reader: BinaryReader, field: Field<unknown>, name: string, reading: Reading): void {
  const { message, fields, depth } = reading;
  const held = message[name];
  if (Array.isArray(held)) {
    held.push(readOne(reader, field.type, depth));
  } else if (held instanceof Map) {
    const [key, value] = readEntry(reader.bytes(), field.type, depth);
    held.set(key, value);
  } else {
    // A message that is sent twice is not merged: the later one counts. No encoder does that.
    message[name] = readOne(reader, field.type, depth);
    if (field.oneof === undefined) return;
    for (const [other, { oneof }] of Object.entries(fields))
      if (oneof === field.oneof && other !== name) message[other] = undefined;
  }
}

function readOne(reader: BinaryReader, type: FieldType, depth: number): unknown {
  if (typeof type === 'function') return type().decode(reader.bytes(), depth + 1);
  if (type === 'string') return reader.string(true);
  if (type === 'bytes') return reader.bytes();
  if (type === 'bool') return reader.bool();
  if (type === 'int64') return BigInt(reader.int64());
  return type === 'double' ? reader.double() : reader.int32();
}

function readEntry(bytes: Uint8Array, type: FieldType, depth: number): readonly [key: string, value: unknown] {
  const reader = new BinaryReader(bytes);
  const valueField: Field<unknown> = { number: 2, type, shape: 'one' };
  let key = '';
  let value: unknown = typeof type === 'function' ? type().decode(new Uint8Array(), depth + 1) : absent(valueField);
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    if (number === 1 && wireType === WireType.LengthDelimited) key = reader.string(true);
    else if (number === 2 && wireType === wireTypeOf(valueField)) value = readOne(reader, type, depth);
    else reader.skip(wireType, number);
  }
  return [key, value];
}
