import { MeshError } from '#policies/errors/mesh-error.ts';
import { nearestWord } from '#policies/nearest-word.ts';
import { quote } from '#policies/quote.ts';
import { isServiceName } from '#policies/service-name.ts';
import { grantPatternSchema } from '#policies/wire/identity-api.ts';
import { type ClaimPath, type Claims, claimAt, parseClaimPath } from './claims.ts';

/**
 * Names made of what a node has proven: text of `[A-Za-z0-9._-]` with `{{ claim }}` in it, or `{{ claim | function "argument" | … }}`.
 *
 *     {{ kubernetes.io/namespace }}.{{ kubernetes.io/serviceaccount/name }}
 *     {{ sub | after "system:serviceaccount:" | after ":" }}
 *     {{ kubernetes.io/namespace }}.*
 *
 * A claim that is missing, not one text or number, or holds anything but `[A-Za-z0-9._-]` once the functions are done, is a refusal: no empty text, no `*` and
 * no `/` ever comes out of one. And two different sets of claims never make one name: what stands between two claims (or a claim and the `*` at the end)
 * may not be in the first. Else a tenant called `web-a` would get what `{{ tenant }}-*` gives to `web`.
 */
export interface ClaimTemplate {
  /** As written. */
  readonly text: string;
  readonly parts: readonly (string | ClaimValue)[];
}

interface ClaimValue {
  readonly path: ClaimPath;
  readonly steps: readonly { readonly name: FunctionName; readonly argument: string }[];
}

/** What a template makes: the name of a node, or a pattern of a grant (exact, or with one `*` at the end). */
export type TemplateKind = 'name' | 'grant';

type FunctionName = keyof typeof functions;

/** Each makes a text of a text and its argument; undefined: it does not fit. */
const functions = {
  lower: (text: string) => text.toLowerCase(),
  before: (text: string, mark: string) => (text.includes(mark) ? text.slice(0, text.indexOf(mark)) : undefined),
  after: (text: string, mark: string) =>
    text.includes(mark) ? text.slice(text.indexOf(mark) + mark.length) : undefined,
  afterLast: (text: string, mark: string) =>
    text.includes(mark) ? text.slice(text.lastIndexOf(mark) + mark.length) : undefined,
} as const satisfies Record<string, (text: string, argument: string) => string | undefined>;
const functionNames = Object.keys(functions) as FunctionName[];
const withoutArgument: ReadonlySet<string> = new Set(['lower']);

const maxTemplateLength = 512;
const maxValueLength = 128;
const maxClaimLength = 4_096;
/** Services of the control plane (grant.ts). */
const reservedPrefix = 'selvedge-';
const space = /[ \t]*/y;
const literalCharacter = /[A-Za-z0-9._-]/;

/**
 * Reads a template.
 * @throws MeshError SLV-1002 that says at which character it goes wrong, and how it should be
 */
export function parseTemplate(text: string, kind: TemplateKind): ClaimTemplate {
  return new TemplateReader(text, kind).read();
}

/** The claims that a template asks for. */
export function claimsOf(template: ClaimTemplate): readonly ClaimPath[] {
  return template.parts.flatMap((part) => (typeof part === 'string' ? [] : [part.path]));
}

/**
 * Fills a template in.
 * @throws MeshError SLV-2106 naming the claim that is missing or does not do
 */
export function fillTemplate(template: ClaimTemplate, kind: TemplateKind, claims: Claims): string {
  const { parts } = template;
  let filled = '';
  for (const [at, part] of parts.entries()) {
    if (typeof part === 'string') {
      filled += part;
      continue;
    }
    const value = textOf(part, claims, template);
    const next = parts[at + 1];
    const isLast = at + 2 >= parts.length;
    const separator =
      typeof next === 'string' && !(isLast && !next.endsWith('*')) ? next.replace(/\*$/, '') : undefined;
    if (separator !== undefined && `${value}${separator}`.indexOf(separator) !== value.length) {
      throw unfit(
        template,
        `${part.path.text} is ${quote(value)}, which holds the ${quote(separator)} that comes after it`,
      );
    }
    filled += value;
  }
  const fits = kind === 'name' ? isServiceName(filled) : grantPatternSchema.safeParse(filled).success;
  if (!fits) throw unfit(template, `${quote(filled)} is no name`);
  const [first = ''] = parts;
  if (filled.startsWith(reservedPrefix) && !(typeof first === 'string' && first.startsWith(reservedPrefix))) {
    throw unfit(template, `${quote(filled)} is a name of the control plane, and no claim makes those`);
  }
  return filled;
}

function textOf({ path, steps }: ClaimValue, claims: Claims, template: ClaimTemplate): string {
  const claim = claimAt(claims, path);
  const found = Array.isArray(claim) && claim.length === 1 ? (claim[0] as unknown) : claim;
  if (found === undefined || found === null) throw unfit(template, `there is no ${path.text}`);
  if (Array.isArray(found)) throw unfit(template, `${path.text} has ${found.length} values`);
  if (typeof found !== 'string' && !Number.isSafeInteger(found)) {
    throw unfit(template, `${path.text} is neither a text nor a whole number`);
  }
  let text = String(found);
  if (text.length > maxClaimLength) throw unfit(template, `${path.text} is too long`);
  for (const { name, argument } of steps) {
    const made = functions[name](text, argument);
    if (made === undefined) throw unfit(template, `${path.text} holds no ${quote(argument)} (${name})`);
    text = made;
  }
  if (text === '') throw unfit(template, `${path.text} is empty`);
  if (text.length > maxValueLength) throw unfit(template, `${path.text} has over ${maxValueLength} characters`);
  if (!/^[A-Za-z0-9._-]+$/.test(text)) {
    throw unfit(template, `${path.text} is ${quote(text)}, which has characters that no name has`);
  }
  return text;
}

/** Reads left to right; `#at` is where it is. */
class TemplateReader {
  readonly #text: string;
  readonly #kind: TemplateKind;
  #at = 0;

  constructor(text: string, kind: TemplateKind) {
    this.#text = text;
    this.#kind = kind;
  }

  read(): ClaimTemplate {
    const text = this.#text;
    if (text === '') throw this.#fault('a name is expected, with {{ claims }} in it where it is made of any');
    if (text.length > maxTemplateLength)
      throw this.#fault(`at most ${maxTemplateLength} characters`, maxTemplateLength);
    const parts: (string | ClaimValue)[] = [];
    while (this.#at < text.length) {
      if (text.startsWith('{{', this.#at)) {
        if (typeof parts.at(-1) === 'object') {
          throw this.#fault('between two claims there must be text, or two pairs of them would make one name');
        }
        parts.push(this.#claim());
      } else {
        parts.push(this.#literal(typeof parts.at(-1) === 'object'));
      }
    }
    if (parts.length === 1 && typeof parts[0] === 'string') this.#requireName(parts[0]);
    return { text, parts };
  }

  #literal(afterClaim: boolean): string {
    const from = this.#at;
    while (this.#at < this.#text.length && !this.#text.startsWith('{{', this.#at)) {
      const character = this.#text[this.#at] ?? '';
      if (character === '*' && this.#kind === 'grant' && this.#at === this.#text.length - 1) {
        if (afterClaim && this.#at === from) {
          throw this.#fault('between a claim and the * there must be text that no claim holds, as in {{ team }}.*');
        }
      } else if (character === '*') {
        throw this.#fault(this.#kind === 'grant' ? '* stands at the end only' : 'a node has no * in its name');
      } else if (!literalCharacter.test(character)) {
        throw this.#fault(`${quote(character)} is not part of a name; a claim is written {{ sub }}`);
      }
      this.#at++;
    }
    return this.#text.slice(from, this.#at);
  }

  #claim(): ClaimValue {
    const opened = this.#at;
    this.#at += 2;
    this.#skipSpace();
    const path = this.#path();
    const steps: { name: FunctionName; argument: string }[] = [];
    for (;;) {
      this.#skipSpace();
      if (this.#text.startsWith('}}', this.#at)) break;
      if (this.#at >= this.#text.length) throw this.#fault('this {{ has no }}', opened);
      if (this.#text[this.#at] !== '|') throw this.#fault('| and a function, or }}, is expected');
      this.#at++;
      this.#skipSpace();
      steps.push(this.#function());
    }
    this.#at += 2;
    return { path, steps };
  }

  /** Up to space, `|` or `}}` outside of quotes. */
  #path(): ClaimPath {
    const from = this.#at;
    let quoted = false;
    for (; this.#at < this.#text.length; this.#at++) {
      const character = this.#text[this.#at] ?? '';
      if (character === '"') quoted = !quoted;
      if (!quoted && (/[ \t|]/.test(character) || this.#text.startsWith('}}', this.#at))) break;
    }
    try {
      return parseClaimPath(this.#text.slice(from, this.#at));
    } catch (error) {
      if (!(error instanceof MeshError)) throw error;
      throw this.#fault(error.message.replace(/^character \d+: /, ''), from + Number(error.detail['at'] ?? 0));
    }
  }

  #function(): { name: FunctionName; argument: string } {
    const from = this.#at;
    const word = /[A-Za-z]*/y;
    word.lastIndex = from;
    const given = word.exec(this.#text)?.[0] ?? '';
    const name = functionNames.find((each) => each === given);
    if (name === undefined) {
      const nearest = nearestWord(given, functionNames);
      const hint = nearest === undefined ? `; there are ${functionNames.join(', ')}` : `; did you mean ${nearest}?`;
      throw this.#fault(`there is no function ${quote(given)}${hint}`);
    }
    this.#at += given.length;
    if (withoutArgument.has(name)) return { name, argument: '' };
    this.#skipSpace();
    const argument = /"([^"\u0000-\u001f\u007f]{1,100})"/y;
    argument.lastIndex = this.#at;
    const found = argument.exec(this.#text);
    if (found === null) throw this.#fault(`${name} takes a text in quotes, as in ${name} ":"`);
    this.#at = argument.lastIndex;
    return { name, argument: found[1] ?? '' };
  }

  /** What has no claims is what it is: it is known now whether it will do. */
  #requireName(literal: string): void {
    const fits = this.#kind === 'name' ? isServiceName(literal) : grantPatternSchema.safeParse(literal).success;
    if (!fits) throw this.#fault(`${quote(literal)} is no name`, 0);
  }

  #skipSpace(): void {
    space.lastIndex = this.#at;
    this.#at += space.exec(this.#text)?.[0].length ?? 0;
  }

  #fault(what: string, at = this.#at): MeshError {
    return new MeshError('SLV-1002', `character ${at + 1}: ${what}`);
  }
}

function unfit(template: ClaimTemplate, flaw: string): MeshError {
  return new MeshError('SLV-2106', `${quote(template.text)} can not be filled in: ${flaw}.`);
}
