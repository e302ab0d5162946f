// Approvals: a person's signed yes or no to one request, or to the file list of a whole release.

import { canonicalJson } from "../../core/canonical-json.ts";
import { signEnvelope, verifyEnvelope, type DsseSigner, type DsseVerifier } from "../../core/dsse.ts";
import { HOUR, parseInstant, SECOND, type Instant } from "../../core/instant.ts";
import { parseJson, type Json } from "../../core/json.ts";
import { checkSchema, instantSchema, nameSchema, sha256Schema, z } from "../../core/schema.ts";
import { lineSchema } from "../audit/entry.ts";
import { SigningError } from "../errors.ts";
import { idSchema } from "../request/operation.ts";

export const MAX_APPROVAL = 16 * 1024;
const MAX_LIFETIME = 24 * HOUR;
const SKEW = 60 * SECOND;

const subjectSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("request"), sha256: sha256Schema }),
  z.strictObject({
    kind: z.literal("release"),
    root: sha256Schema,
    size: z.number().check(z.int(), z.minimum(1)),
  }),
]);
export type ApprovalSubject = z.infer<typeof subjectSchema>;

const approvalSchema = z.strictObject({
  version: z.literal(1),
  nonce: idSchema,
  approver: lineSchema,
  decision: z.enum(["approve", "reject"]),
  subject: subjectSchema,
  created: instantSchema,
  expires: instantSchema,
  signer: nameSchema,
});
export type Approval = z.infer<typeof approvalSchema>;

/** The subject as one word: `request:<hash>` or `release:<root>:<size>`. */
export function subjectWord(subject: ApprovalSubject): string {
  return subject.kind === "request" ? `request:${subject.sha256}` : `release:${subject.root}:${subject.size}`;
}

export function signApproval(approval: Approval, signer: DsseSigner): Promise<Uint8Array> {
  return signEnvelope("approval", canonicalJson(approval as unknown as Json), [signer]);
}

/** Errors: `dsse/*`, `json/*`, `schema/invalid`, `signing/bad-approval`, `signing/expired`. */
export function openApproval(
  envelope: Uint8Array,
  context: {
    readonly keys: readonly DsseVerifier[];
    readonly user: string;
    readonly signer: string;
    readonly now: Instant;
  },
): Approval {
  const { body } = verifyEnvelope(envelope, "approval", context.keys, { limit: MAX_APPROVAL });
  const approval = checkSchema(approvalSchema, parseJson(body), "approval");
  const bad = (what: string): SigningError =>
    new SigningError("signing/bad-approval", `The approval is refused: ${what}.`);
  if (approval.approver !== context.user) throw bad("it names another approver than the one who signed in");
  if (approval.signer !== context.signer) throw bad("it was made for another signer");
  const [created, expires] = [parseInstant(approval.created), parseInstant(approval.expires)];
  if (created > context.now + SKEW) throw bad("it was made in the future");
  if (expires <= created || expires - created > MAX_LIFETIME)
    throw bad("it is meant to live longer than a day");
  if (expires <= context.now) {
    throw new SigningError("signing/expired", `The approval expired at ${approval.expires}.`, {
      expires: approval.expires,
    });
  }
  return approval;
}

/** One approval as the ledger remembers it. */
export type GivenApproval = {
  readonly user: string;
  readonly nonce: string;
  readonly decision: "approve" | "reject";
  readonly expires: Instant;
};

export type Quorum =
  | { readonly state: "reached"; readonly by: readonly GivenApproval[] }
  | { readonly state: "rejected"; readonly by: string }
  | { readonly state: "waiting"; readonly have: number };

/** What decides which answers count. */
export type Counting = {
  readonly approvers: readonly string[];
  readonly requester: string;
  readonly now: Instant;
};

/** m different people of those allowed, never the requester, each in time; one no is a no. */
export function quorum(
  given: readonly GivenApproval[],
  rule: Counting & { readonly needed: number },
): Quorum {
  const counted = new Map<string, GivenApproval>();
  for (const approval of given) {
    if (approval.user === rule.requester || !rule.approvers.includes(approval.user)) continue;
    if (approval.decision === "reject") return { state: "rejected", by: approval.user };
    if (approval.expires > rule.now) counted.set(approval.user, approval);
  }
  return counted.size >= rule.needed
    ? { state: "reached", by: [...counted.values()] }
    : { state: "waiting", have: counted.size };
}
