/**
 * What a filter may ask of the things of one list: their fields as go-bexpr sees Consul's Go structures. A view leaves out what is empty, so a
 * field that is not there counts as Go's zero value.
 */
export type Field =
  | { readonly kind: 'text' | 'number' | 'flag' }
  | { readonly kind: 'list'; readonly of: Field }
  | { readonly kind: 'map'; readonly of: Field }
  | { readonly kind: 'object'; readonly fields: Fields };
export type Fields = Readonly<Record<string, Field>>;

export const text: Field = { kind: 'text' };
export const number: Field = { kind: 'number' };
export const flag: Field = { kind: 'flag' };
export const listOf = (of: Field): Field => ({ kind: 'list', of });
export const mapOf = (of: Field): Field => ({ kind: 'map', of });
export const object = (fields: Fields): Field => ({ kind: 'object', fields });
