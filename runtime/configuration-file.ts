import { readFileSync } from 'node:fs';
import { isMap, isNode, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import { MeshError } from '#policies/errors/mesh-error.ts';
import { type Found, flagName, type OptionSet, unknownOption } from './configuration.ts';

/** Reads a YAML mapping of keys to scalars, lists of scalars, or what an option reads by itself; refuses unknown and duplicate keys with their line. */
export function readConfigurationFile(path: string, options: OptionSet, faults: MeshError[]): Map<string, Found> {
  const found = new Map<string, Found>();
  const lines = new LineCounter();
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    faults.push(new MeshError('SLV-1005', `configuration file ${path} can't be read`, { cause: error }));
    return found;
  }
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true });
  for (const fault of document.errors) {
    faults.push(
      new MeshError(
        'SLV-1002',
        `${path}:${lines.linePos(fault.pos[0]).line}: ${fault.message.split('\n')[0] ?? 'not YAML'}`,
      ),
    );
  }
  if (document.errors.length > 0 || document.contents === null) return found;
  if (!isMap(document.contents)) {
    faults.push(new MeshError('SLV-1002', `${path}: a mapping of keys to values is expected`));
    return found;
  }
  const byFlag = new Map(Object.keys(options).map((name) => [flagName(name), name]));
  for (const pair of document.contents.items) {
    const key = isScalar(pair.key) ? String(pair.key.value) : '';
    const line = lines.linePos(isScalar(pair.key) ? (pair.key.range?.[0] ?? 0) : 0).line;
    const place = `${path}:${line}: ${key}`;
    const name = byFlag.get(key);
    if (name === undefined) {
      faults.push(unknownOption(`key "${key}" at ${path}:${line}`, key, [...byFlag.keys()]));
      continue;
    }
    if (options[name]?.fromFile !== undefined) {
      const structure: unknown = isNode(pair.value) ? pair.value.toJS(document) : undefined;
      found.set(name, { texts: [''], place, structure });
      continue;
    }
    const items = isSeq(pair.value) ? pair.value.items : [pair.value];
    const texts: string[] = [];
    for (const item of items) {
      if (isScalar(item) && item.value !== null) texts.push(String(item.source ?? item.value));
      else
        faults.push(
          new MeshError('SLV-1002', `${place}: a text, a number, true, false or a list of these is expected`),
        );
    }
    found.set(name, { texts, place });
  }
  return found;
}
