import { buildGo, goPrograms, whyNoGo } from './go-program.ts';
import { findH2spec } from './h2spec/find-h2spec.ts';

/*
 * What tests have to have built, built beside the tests before them: bin/test starts this at the lowest priority, for a core that is idle. A test that comes first builds it
 * itself, and says what went wrong.
 */

if ((await whyNoGo()) === undefined) {
  for (const name of Object.keys(goPrograms) as (keyof typeof goPrograms)[]) await buildGo(name, 0);
  await findH2spec();
}
