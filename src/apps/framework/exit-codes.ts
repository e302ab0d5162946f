// Exit codes: one small table that scripts may rely on, and the rule that maps error codes to it.

/** Documented in docs/errors.md; a number never changes its meaning. */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  refused: 3,
  pending: 4,
  network: 5,
  "verify-failed": 6,
} as const;
export type ExitName = keyof typeof EXIT;

/** First match wins; a pattern ending in `/` covers all codes of that room. */
const RULES: readonly (readonly [pattern: string, exit: ExitName])[] = [
  ["cli/usage", "usage"],
  ["cli/no-secret", "usage"],
  ["cli/bad-settings", "usage"],
  ["cli/verify-failed", "verify-failed"],
  ["release/bad-name", "usage"],
  ["release/bad-platform", "usage"],
  ["version/", "usage"],
  ["publisher/bad-input", "usage"],
  ["publisher/busy", "pending"],
  ["publisher/waits-for-signatures", "pending"],
  ["publisher/inconsistent", "refused"],
  ["publisher/stale-request", "refused"],
  ["publisher/not-verified", "verify-failed"],
  ["publisher/", "failed"],
  ["signing/pending", "pending"],
  ["signing/unreachable", "network"],
  ["signing/store-unavailable", "network"],
  // The signer's authorities, as `artifact/no-timestamp` says it of one's own.
  ["signing/timestamp-failed", "network"],
  ["signing/outcome-unknown", "network"],
  // The bytes that came are wrong: a matter of trust. Bytes that did not come: a matter of the network.
  ["mirror/wrong-content", "refused"],
  ["mirror/untrusted", "refused"],
  ["mirror/", "network"],
  ["http/cannot-listen", "failed"],
  ["http/", "network"],
  ["network/untrusted", "refused"],
  ["network/", "network"],
  ["server/refused", "refused"],
  ["server/untrusted", "refused"],
  ["server/bad-answer", "refused"],
  ["server/", "network"],
  ["fleet/bad-interval", "usage"],
  ["fleet/audit-broken", "verify-failed"],
  ["fleet/bad-store-address", "usage"],
  ["fleet/store-certificate", "refused"],
  ["fleet/other-authorities", "refused"],
  ["dsse/", "refused"],
  ["schema/", "refused"],
  ["json/", "refused"],
  ["bytes/", "refused"],
  ["canonical-json/", "refused"],
  ["instant/", "refused"],
  ["agent/image-refused", "refused"],
  ["key/not-found", "failed"],
  ["key/exists", "failed"],
  ["key/", "refused"],
  ["release/", "refused"],
  ["repository/", "refused"],
  ["artifact/no-timestamp", "network"],
  ["artifact/unreadable", "failed"],
  ["artifact/", "refused"],
  ["pe/", "refused"],
  ["elf/", "refused"],
  ["der/", "refused"],
  ["process/bad-service", "usage"],
  ["process/service-exposed", "refused"],
  ["slot/", "refused"],
  ["signing/", "refused"],
  ["license/", "refused"],
  ["identity/unknown-authority", "usage"],
  ["identity/bad-move", "usage"],
  ["identity/", "refused"],
  ["message/", "refused"],
  ["report/", "refused"],
];

/** The exit code for an error's code; 1 for what no rule names. */
export function exitFor(code: string): number {
  const rule = RULES.find(([pattern]) =>
    pattern.endsWith("/") ? code.startsWith(pattern) : code === pattern,
  );
  return EXIT[rule?.[1] ?? "failed"];
}
