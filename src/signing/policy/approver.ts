// Who may say yes or no to a request that waits: one place decides it, beside what a yes is worth (approval.ts).

import type { UserConfig } from "./config.ts";

/** A request that an answer is about; `approvers` of its rule, null if that rule is gone. */
export type Asked = { readonly requester: string; readonly approvers: readonly string[] | null };

/** `own`: everything that the answer is about was asked for by the one who answers, so that no rule would count it. */
export type Answering = "may" | "may-not" | "own";

/**
 * `spki`: SHA-256 of the key with which the answer is signed. `asked`: what waits under the answer's subject; nothing if the answer came first, and
 * then what it is worth shows when the request comes.
 */
export function mayAnswer(
  user: { readonly name: string; readonly config: UserConfig },
  spki: string,
  asked: readonly Asked[],
): Answering {
  const { name, config } = user;
  if (config.disabled || !config.roles.includes("approver")) return "may-not";
  // A pipeline's token proves a pipeline, and no person.
  if (config.kind === "ci") return "may-not";
  // A person whose approval keys are known approves with one of them only.
  if (
    config.kind === "person" &&
    config["approval-keys"].length > 0 &&
    !config["approval-keys"].includes(spki)
  )
    return "may-not";
  if (asked.length === 0) return "may";
  if (asked.every(({ requester }) => requester === name)) return "own";
  const counts = asked.some(
    ({ requester, approvers }) => requester !== name && approvers?.includes(name) !== false,
  );
  return counts ? "may" : "may-not";
}
