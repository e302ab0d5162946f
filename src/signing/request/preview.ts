// What would become of a request, for whoever may use the certificate anyway: no signature, no count, nothing in the audit log.

import type { CertificateConfig } from "../policy/config.ts";
import { line } from "../audit/entry.ts";
import { denied, type Decision } from "../policy/policy.ts";
import type { Answers } from "../wire/protocol.ts";

/** `rule`: the one that lets it pass. `reasons`: what stands against it in the rules that name the asker; nothing is told of others. */
export type Preview = Answers["preview"];

/**
 * Who may not ask for signatures with this certificate learns no more than a request would have told: nothing.
 * Errors: `signing/denied`.
 */
export function previewOf(
  decision: Decision,
  certificate: CertificateConfig | undefined,
  user: string,
): Preview {
  const own = Object.entries(certificate?.policy ?? {}).filter(([, rule]) => rule.users.includes(user));
  if (own.length === 0) throw denied();
  if (decision.outcome !== "deny") {
    const { outcome, rule } = decision;
    return { outcome, rule, ...(outcome === "ask" ? { needed: decision.needed } : {}), reasons: [] };
  }
  const reasons = decision.checks.flatMap(({ name, ok, reason }) => {
    const [rule = "", check] = name.split("/");
    const told = !ok && check !== undefined && own.some(([each]) => each === rule);
    return told ? [{ rule: line(rule), check: line(check), reason: line(reason) }] : [];
  });
  // Not one of his rules: he is disabled, has not the role, or the certificate is not in use.
  if (reasons.length === 0) throw denied();
  return { outcome: "deny", reasons };
}
