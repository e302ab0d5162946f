// Interlocks: executables of the owner that are asked before anything that runs is touched. No answer is a no.

import { SECOND, type Instant } from "../core/instant.ts";
import type { Situation } from "../manners/decide.ts";
import type { Hook, HookAnswer, Surroundings } from "../manners/ports.ts";
import { sentenceOf } from "./errors.ts";
import type { InterlockSettings } from "./manners-settings.ts";

/** EX_TEMPFAIL of sysexits.h: not now, ask again. */
const LATER = 75;
const DEFAULT_SECONDS = 10;
/** The longest that a "later" may put the next question off. */
const LONGEST_LATER = 3600;

export type Refusal = { readonly name: string; readonly why: string; readonly until: Instant | null };

/** Those that did not say yes, in the order of the settings. */
export async function askInterlocks(
  surroundings: Pick<Surroundings, "run">,
  interlocks: readonly InterlockSettings[],
  about: Pick<Situation, "product" | "version" | "kind" | "now">,
): Promise<readonly Refusal[]> {
  const refusals: Refusal[] = [];
  for (const { name, command, products, timeoutSeconds = DEFAULT_SECONDS } of interlocks) {
    if (products?.includes(about.product) === false) continue;
    const hook: Hook = {
      command,
      timeoutMs: timeoutSeconds * SECOND,
      env: { UPKEEP_PRODUCT: about.product, UPKEEP_VERSION: about.version, UPKEEP_KIND: about.kind },
    };
    const said = verdictOf(await surroundings.run(hook), timeoutSeconds, about.now);
    if (said !== null) refusals.push({ name, ...said });
  }
  return refusals;
}

/** 0 is yes, 75 is later (a number in its output: for so many seconds), all else is no. */
function verdictOf(answer: HookAnswer, timeoutSeconds: number, now: Instant): Omit<Refusal, "name"> | null {
  if (answer.kind === "timeout") return { why: `It gave no answer within ${timeoutSeconds} s.`, until: null };
  if (answer.kind === "not-started") return { why: sentenceOf(answer.what), until: null };
  if (answer.code === 0) return null;
  const words = sentenceOf(answer.output.trim().split("\n").at(-1) ?? "").slice(0, 200);
  if (answer.code === LATER) {
    const seconds = /^\d{1,5}$/.test(words) ? Math.min(Number(words), LONGEST_LATER) : null;
    return { why: "It says later.", until: seconds === null ? null : now + seconds * SECOND };
  }
  return { why: words === "" ? "It says no." : words, until: null };
}
