/** A filter as it was written (go-bexpr's boolean expressions), before anyone has looked whether its fields exist. */
export type Expression =
  | { readonly kind: 'and' | 'or'; readonly left: Expression; readonly right: Expression }
  | { readonly kind: 'not'; readonly operand: Expression }
  | {
      readonly kind: 'match';
      readonly selector: Selector;
      readonly operator: Operator;
      /** Undefined for `is empty` and `is not empty`. */
      readonly value: string | undefined;
    };

/** Names from the outermost field inwards: `Service.Meta["a-b"]` is `Service`, `Meta`, `a-b`. */
export type Selector = readonly [string, ...string[]];

/** Named as go-bexpr's errors and Consul's documentation name them; `contains` is `In` the other way round. */
export type Operator =
  | 'Equal'
  | 'Not Equal'
  | 'In'
  | 'Not In'
  | 'Is Empty'
  | 'Is Not Empty'
  | 'Matches'
  | 'Not Matches';
