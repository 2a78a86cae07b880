import type { ProtoFile } from '#runtime/protobuf/descriptor.ts';
import {
  bool,
  bytes,
  choice,
  double,
  enumeration,
  int32,
  type MessageType,
  many,
  map,
  message,
  one,
  string,
} from '#runtime/protobuf/message.ts';

/** google.protobuf.Any, Struct and google.rpc.Status. Field numbers: google/protobuf/any.proto, struct.proto; google/rpc/status.proto. */

export const any = message('google.protobuf.Any', { typeUrl: string(1), value: bytes(2) });

/** A value of JSON. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** google.protobuf.Struct: a JSON object. */
export interface Struct {
  readonly fields: ReadonlyMap<string, Value>;
}
/** google.protobuf.Value: one of these is there. */
export interface Value {
  readonly nullValue?: number | undefined;
  readonly numberValue?: number | undefined;
  readonly stringValue?: string | undefined;
  readonly boolValue?: boolean | undefined;
  readonly structValue?: Struct | undefined;
  readonly listValue?: { readonly values: readonly Value[] } | undefined;
}

const nullValue = { enumName: 'google.protobuf.NullValue', values: { NULL_VALUE: 0 } };
export const struct: MessageType<Struct, Struct> = message('google.protobuf.Struct', { fields: map(1, () => value) });
const value: MessageType<Value, Value> = message('google.protobuf.Value', {
  nullValue: choice('kind', enumeration(1, nullValue)),
  numberValue: choice('kind', double(2)),
  stringValue: choice('kind', string(3)),
  boolValue: choice('kind', bool(4)),
  structValue: choice(
    'kind',
    one(5, () => struct),
  ),
  listValue: choice(
    'kind',
    one(6, () => listValue),
  ),
});
const listValue: MessageType<{ readonly values: readonly Value[] }, { readonly values: readonly Value[] }> = message(
  'google.protobuf.ListValue',
  { values: many(1, () => value) },
);

/** A JSON object as a Struct. Numbers that are not finite, which JSON does not have, become null. */
export function structOf(json: { readonly [name: string]: Json }): Struct {
  return { fields: new Map(Object.entries(json).map(([name, item]) => [name, jsonValue(item)])) };
}

function jsonValue(json: Json): Value {
  if (json === null) return { nullValue: 0 };
  if (typeof json === 'string') return { stringValue: json };
  if (typeof json === 'boolean') return { boolValue: json };
  if (typeof json === 'number') return Number.isFinite(json) ? { numberValue: json } : { nullValue: 0 };
  if (isList(json)) return { listValue: { values: json.map(jsonValue) } };
  return { structValue: structOf(json) };
}

function isList(json: Json): json is readonly Json[] {
  return Array.isArray(json);
}

export const rpcStatus = message('google.rpc.Status', {
  code: int32(1),
  message: string(2),
  details: many(3, () => any),
});

export const anyFile: ProtoFile = { name: 'google/protobuf/any.proto', package: 'google.protobuf', messages: [any] };
export const structFile: ProtoFile = {
  name: 'google/protobuf/struct.proto',
  package: 'google.protobuf',
  messages: [struct, value, listValue],
  enums: [nullValue],
};
export const statusFile: ProtoFile = {
  name: 'google/rpc/status.proto',
  package: 'google.rpc',
  imports: [anyFile],
  messages: [rpcStatus],
};
