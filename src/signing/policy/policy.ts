// The decision whether a request may be signed: a list of checks with reasons, over plain values.

import { DAY, formatInstant, HOUR, type Instant } from "../../core/instant.ts";
import { inNetwork, parseAddress, parseNetwork } from "./address.ts";
import { SigningError } from "../errors.ts";
import type { CertificateConfig, RuleConfig, UserConfig } from "./config.ts";
import { catalogOf } from "../request/catalog-list.ts";
import type { Operation } from "../request/operation.ts";
import type { SigningRequest } from "../request/request.ts";

/** How often something was signed, as the ledger counts. */
export interface Usage {
  /** Signatures under this rule of the certificate since `since`. */
  count(certificate: string, rule: string, since: Instant): number;
}

export type PolicyInput = {
  readonly request: SigningRequest;
  readonly user: { readonly name: string; readonly config: UserConfig };
  readonly certificate: {
    readonly name: string;
    readonly config: CertificateConfig;
    readonly validTo: Instant | null;
  } | null;
  readonly address: string;
  readonly now: Instant;
  readonly usage: Usage;
};

export type Check = { readonly name: string; readonly ok: boolean; readonly reason: string };

export type Decision =
  | { readonly outcome: "allow"; readonly rule: string; readonly checks: readonly Check[] }
  | {
      readonly outcome: "ask";
      readonly rule: string;
      readonly checks: readonly Check[];
      readonly needed: number;
      readonly approvers: readonly string[];
      readonly pendingHours: number;
    }
  | { readonly outcome: "deny"; readonly checks: readonly Check[] };

/** Denied unless one rule of the certificate lets every check pass. */
export function decide(input: PolicyInput): Decision {
  const general = generalChecks(input);
  if (general.some((check) => !check.ok) || input.certificate === null)
    return { outcome: "deny", checks: general };
  const rules = Object.entries(input.certificate.config.policy);
  if (rules.length === 0) {
    return {
      outcome: "deny",
      checks: [...general, no("rule", "the certificate has no rule, so no user may use it")],
    };
  }
  const failed: Check[] = [];
  for (const [name, rule] of rules) {
    const checks = ruleChecks(name, rule, input);
    if (checks.every((check) => check.ok)) {
      const all = [...general, ...checks];
      return rule.approvals === 0
        ? { outcome: "allow", rule: name, checks: all }
        : {
            outcome: "ask",
            rule: name,
            checks: all,
            needed: rule.approvals,
            approvers: rule.approvers,
            pendingHours: rule["pending-hours"],
          };
    }
    failed.push(
      ...checks.filter((check) => !check.ok).map((check) => ({ ...check, name: `${name}/${check.name}` })),
    );
  }
  return { outcome: "deny", checks: [...general, ...failed] };
}

function generalChecks({ user, certificate, now }: PolicyInput): readonly Check[] {
  return [
    check("user", !user.config.disabled, `the user ${user.name} is disabled`),
    check(
      "role",
      user.config.roles.includes("requester"),
      `the user ${user.name} may not request signatures`,
    ),
    check("certificate", certificate !== null, "there is no such certificate"),
    ...(certificate === null
      ? []
      : [
          check("enabled", !certificate.config.disabled, `the certificate ${certificate.name} is disabled`),
          check(
            "validity",
            certificate.validTo === null || certificate.validTo > now,
            `the certificate ${certificate.name} expired at ${formatInstant(certificate.validTo ?? 0)}`,
          ),
        ]),
  ];
}

function ruleChecks(name: string, rule: RuleConfig, input: PolicyInput): readonly Check[] {
  const { request, user, address, now, usage, certificate } = input;
  const { operation, file } = request;
  const since = (span: number): number => usage.count(certificate!.name, name, now - span);
  const format = operation.kind === "authenticode" ? operation.format : operation.kind;
  const algorithm = operation.kind === "raw" ? operation.scheme : operation.algorithm;
  const timestamp = operation.kind === "raw" || operation.timestamp;
  return [
    check("who", rule.users.includes(user.name), `the rule is not for ${user.name}`),
    check(
      "until",
      rule.until === undefined || Date.parse(rule.until) > now,
      `the rule ended at ${rule.until ?? ""}`,
    ),
    check(
      "operation",
      rule.operations.includes(operation.kind),
      operation.kind === "raw"
        ? "raw signing is off unless a rule allows it"
        : `the rule does not allow ${operation.kind}`,
    ),
    check(
      "format",
      rule.formats === undefined || rule.formats.includes(format),
      `the format ${format} is not allowed`,
    ),
    check(
      "algorithm",
      rule.algorithms === undefined || rule.algorithms.includes(algorithm),
      `the algorithm ${algorithm} is not allowed`,
    ),
    check(
      "name",
      rule.names === undefined || rule.names.some((pattern) => matches(file.name, pattern)),
      "the file name fits no pattern of the rule",
    ),
    check(
      "purpose",
      operation.kind !== "raw" ||
        rule.purposes === undefined ||
        rule.purposes.some((pattern) => matches(operation.purpose, pattern)),
      "the purpose fits no pattern of the rule",
    ),
    check("catalog", ...catalogCheck(rule, operation)),
    check(
      "size",
      rule["max-size"] === undefined || file.length <= rule["max-size"],
      "the file is larger than allowed",
    ),
    check("timestamp", timestamp || rule.timestamp !== "required", "the rule demands a timestamp"),
    check("hours", inHours(rule, now), "it is outside of the rule's hours"),
    check("address", fromAllowed(rule, address), `the address ${address} is not in the rule's networks`),
    check(
      "per-hour",
      rule["per-hour"] === undefined || since(HOUR) < rule["per-hour"],
      `${rule["per-hour"] ?? 0} signatures in this hour were made already`,
    ),
    check(
      "per-day",
      rule["per-day"] === undefined || since(DAY) < rule["per-day"],
      `${rule["per-day"] ?? 0} signatures in this day were made already`,
    ),
    check(
      "total",
      rule.total === undefined || usage.count(certificate!.name, name, -Infinity) < rule.total,
      `all ${rule.total ?? 0} signatures of the rule were made`,
    ),
  ];
}

/** What a catalog lists is part of what is signed. */
function catalogCheck(rule: RuleConfig, operation: Operation): readonly [ok: boolean, reason: string] {
  if (operation.kind !== "authenticode" || operation.format !== "cat") return [true, ""];
  const catalog = catalogOf(operation);
  if (catalog === null)
    return [
      rule["unread-catalogs"] && rule.members === undefined,
      "the catalog's list did not come with the request, so what it lists is not known",
    ];
  const other = catalog.members.find(
    ({ name }) => name === null || rule.members?.some((pattern) => matches(name, pattern)) === false,
  );
  return [
    rule.members === undefined || other === undefined,
    `the catalog lists ${other?.name ?? "a file without a name"}, which fits no pattern of the rule`,
  ];
}

/** `*` is any run of characters but `/`, `**` any run, `?` one character. */
export function matches(name: string, pattern: string): boolean {
  const source = pattern.replace(/\*\*|\*|\?|[.+^${}()|[\]\\]/g, (part) =>
    part === "**" ? "[^]*" : part === "*" ? "[^/]*" : part === "?" ? "[^/]" : `\\${part}`,
  );
  return new RegExp(`^${source}$`, "u").test(name);
}

const DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"] as const;

/** UTC. A span that ends before it starts goes over midnight. */
function inHours(rule: RuleConfig, now: Instant): boolean {
  const date = new Date(now);
  if (rule.days !== undefined && !rule.days.includes(DAYS[date.getUTCDay()]!)) return false;
  if (rule.hours === undefined) return true;
  const [from = 0, to = 0] = rule.hours.split("-").map((text) => {
    const [h, m] = text.split(":").map(Number);
    return h! * 60 + m!;
  });
  const at = date.getUTCHours() * 60 + date.getUTCMinutes();
  return from <= to ? at >= from && at < to : at >= from || at < to;
}

function fromAllowed(rule: RuleConfig, address: string): boolean {
  if (rule.addresses === undefined) return true;
  const bytes = parseAddress(address);
  return bytes !== null && rule.addresses.some((text) => inNetwork(bytes, parseNetwork(text)!));
}

function check(name: string, ok: boolean, reason: string): Check {
  return { name, ok, reason: ok ? "" : reason };
}

function no(name: string, reason: string): Check {
  return { name, ok: false, reason };
}

/** All that anybody outside hears of a refusal. */
export function denied(): SigningError {
  return new SigningError(
    "signing/denied",
    "The request was refused.",
    {},
    {
      hint: "The reason stands in the signer's audit log.",
    },
  );
}
