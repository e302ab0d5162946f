// The signer's configuration: one TOML file under a closed schema; a fault is named with its line.

import { parse } from "smol-toml";
import { sha256Hex } from "../../core/digest.ts";
import { toUtf8 } from "../../core/bytes.ts";
import type { Json } from "../../core/json.ts";
import { checkSchema, instantSchema, nameSchema, SchemaError, sha256Schema, z } from "../../core/schema.ts";
import { SCHEMES, type Scheme } from "../../keys/scheme.ts";
import { parseNetwork } from "./address.ts";
import { lineSchema } from "../audit/entry.ts";
import { lineOf } from "../../core/toml-line.ts";
import { logFileSettings } from "./log-settings.ts";
import { SigningError } from "../errors.ts";

export const MAX_CONFIG = 4 * 1024 * 1024;

const count = z.int().check(z.minimum(1), z.maximum(1_000_000_000));
const names = z.array(nameSchema).check(z.maxLength(1000));
const words = z.array(lineSchema).check(z.maxLength(1000));
const url = lineSchema.check(
  z.regex(/^https?:\/\/\S+$/, "expected a URL that starts with http:// or https://"),
);
/** Where a secret is, never the secret: `env:NAME`, `file:/path` or `sealed`. */
const secretReference = lineSchema.check(
  z.regex(
    /^(?:env:[A-Z_][A-Z0-9_]*|file:\/.+|sealed)$/,
    "expected env:NAME, file:/path or sealed; never the secret itself",
  ),
);

const gatewaySchema = z.strictObject({
  /** host:port of the gateway's signer port. */
  address: lineSchema.check(z.regex(/^(?:\[[0-9a-f:]+\]|[^:[\]]+):\d{1,5}$/, "expected host:port")),
  /** SHA-256 of the gateway's SubjectPublicKeyInfo. */
  spki: sha256Schema,
});

const serviceSchema = z.strictObject({
  name: nameSchema,
  gateways: z.array(gatewaySchema).check(z.maxLength(16)),
  /** Idle connections that are kept at each gateway. */
  connections: z._default(z.int().check(z.minimum(1), z.maximum(64)), 8),
  "max-sessions": z._default(z.int().check(z.minimum(1), z.maximum(4096)), 256),
  /** Requests that may wait for one key. */
  queue: z._default(z.int().check(z.minimum(1), z.maximum(100_000)), 2000),
  /** How long one signature may take before the key's process is replaced. */
  "key-timeout-seconds": z._default(z.int().check(z.minimum(1), z.maximum(600)), 15),
  "session-minutes": z._default(z.int().check(z.minimum(1), z.maximum(60)), 15),
  "log-level": z._default(z.enum(["error", "warn", "info", "debug"]), "info"),
  ...logFileSettings,
  /** Whether processes of keys that need no network are started without one: or not at all, where it can be had, never. */
  sandbox: z._default(z.enum(["require", "try", "off"]), "try"),
});

/** Where the audit log is, if not in the signer's folder. What else a signer keeps never leaves its folder. */
const storeSchema = z.strictObject({
  /** A PostgreSQL database, without password: postgres://USER@HOST[:PORT]/DATABASE[?sslrootcert=FILE&sslcert=FILE&sslkey=FILE]. */
  url: lineSchema.check(z.regex(/^postgres(?:ql)?:\/\/\S+$/, "expected postgres://USER@HOST/DATABASE")),
  /** In the form of PostgreSQL's own .pgpass, mode 0600; a relative path is one in the signer's folder. */
  "password-file": z.optional(lineSchema.check(z.minLength(1))),
});

const timestampSchema = z.strictObject({
  /** RFC 3161 authorities, tried in this order. */
  urls: z.array(url).check(z.minLength(1), z.maxLength(16)),
  /** PEM file with the roots that authorities must chain to; a relative path is one in the signer's folder. */
  roots: z.optional(lineSchema.check(z.minLength(1))),
  /** RFC 3161 policies that are accepted; without it any. */
  policies: z.optional(
    z.array(
      z.string().check(z.maxLength(128), z.regex(/^[0-2](?:\.\d+)+$/, "expected an object identifier")),
    ),
  ),
  "timeout-seconds": z._default(z.int().check(z.minimum(1), z.maximum(60)), 10),
});

const oidcSchema = z.strictObject({
  issuer: url,
  audience: lineSchema,
  /** Where the issuer's keys are; by default what its discovery document says. */
  jwks: z.optional(url),
  /** `key`: the audience ends with `#` and the SHA-256 of the client's key. `none`: a token is bound to the first key that uses it. */
  binding: z._default(z.enum(["key", "none"]), "none"),
  "max-age-minutes": z._default(z.int().check(z.minimum(1), z.maximum(15)), 15),
});

const role = z.enum(["requester", "approver", "auditor"]);
const userCommon = {
  roles: z._default(z.array(role).check(z.minLength(1)), ["requester"]),
  disabled: z._default(z.boolean(), false),
  note: z.optional(lineSchema),
};
const userSchema = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("person"),
    ...userCommon,
    /** argon2id in the PHC string form. */
    password: lineSchema.check(
      z.regex(/^\$argon2id\$v=19\$/, "expected an argon2id hash as `signer user add` writes it"),
    ),
    /** RFC 6238 secret, sealed under the service's unlock secret. */
    totp: lineSchema,
    /** SHA-256 of keys this person approves with; without it the key of the sign-in session counts. */
    "approval-keys": z._default(z.array(sha256Schema), []),
  }),
  z.strictObject({
    kind: z.literal("machine"),
    ...userCommon,
    /** SHA-256 of the SubjectPublicKeyInfo of its keys. */
    keys: z.array(sha256Schema).check(z.minLength(1), z.maxLength(16)),
    expires: z.optional(instantSchema),
  }),
  z.strictObject({
    kind: z.literal("ci"),
    ...userCommon,
    issuer: nameSchema,
    /** Every claim must be there and fit its pattern. */
    claims: z.record(z.string(), lineSchema),
  }),
]);

const scheme = z.enum(Object.keys(SCHEMES) as [Scheme, ...Scheme[]]);
const keyCommon = {
  scheme,
  /** Further schemes of the same key that may be asked for. */
  "also-schemes": z._default(z.array(scheme), []),
  /** Requests given to the key at the same time; its process orders what a token cannot do at once. */
  parallel: z._default(z.int().check(z.minimum(1), z.maximum(64)), 32),
};
const keySchema = z.discriminatedUnion("custody", [
  z.strictObject({ custody: z.literal("file"), ...keyCommon }),
  z.strictObject({
    custody: z.literal("pkcs11"),
    ...keyCommon,
    module: lineSchema,
    token: lineSchema,
    label: lineSchema,
    pin: secretReference,
    /** The module talks to its token over a network; without it its process has none. */
    network: z._default(z.boolean(), false),
  }),
  z.strictObject({
    custody: z.literal("aws-kms"),
    ...keyCommon,
    region: lineSchema,
    "key-id": lineSchema,
    endpoint: z.optional(url),
    credentials: secretReference,
  }),
  z.strictObject({
    custody: z.literal("google-kms"),
    ...keyCommon,
    /** projects/…/cryptoKeyVersions/N */
    resource: lineSchema,
    endpoint: z.optional(url),
    credentials: secretReference,
  }),
  z.strictObject({
    custody: z.literal("azure-key-vault"),
    ...keyCommon,
    vault: url,
    key: lineSchema,
    version: lineSchema,
    tenant: lineSchema,
    authority: z.optional(url),
    credentials: secretReference,
  }),
  z.strictObject({
    custody: z.literal("vault-transit"),
    ...keyCommon,
    address: url,
    mount: z._default(lineSchema, "transit"),
    key: lineSchema,
    version: z._default(count, 1),
    credentials: secretReference,
  }),
]);

const ruleSchema = z.strictObject({
  users: names.check(z.minLength(1)),
  operations: z.array(z.enum(["authenticode", "elf", "cms", "raw"])).check(z.minLength(1)),
  formats: z.optional(words),
  algorithms: z.optional(words),
  names: z.optional(words),
  purposes: z.optional(words),
  /** Of a catalog: patterns for the names of the files that it lists. */
  members: z.optional(words),
  /** A catalog may be signed whose list did not come along, so that nobody knows what it lists. */
  "unread-catalogs": z._default(z.boolean(), false),
  "max-size": z.optional(count),
  timestamp: z._default(z.enum(["required", "optional"]), "optional"),
  /** UTC, such as 08:00-18:00. */
  hours: z.optional(
    z
      .string()
      .check(
        z.regex(/^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$/, "expected a span such as 08:00-18:00"),
      ),
  ),
  days: z.optional(z.array(z.enum(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]))),
  addresses: z.optional(
    z.array(
      z
        .string()
        .check(z.refine((text) => parseNetwork(text) !== null, "expected a network such as 10.0.0.0/8")),
    ),
  ),
  "per-hour": z.optional(count),
  "per-day": z.optional(count),
  total: z.optional(count),
  until: z.optional(instantSchema),
  approvals: z._default(z.int().check(z.minimum(0), z.maximum(20)), 0),
  approvers: z._default(names, []),
  "pending-hours": z._default(z.int().check(z.minimum(1), z.maximum(24 * 14)), 24),
});

const certificateSchema = z.strictObject({
  key: nameSchema,
  disabled: z._default(z.boolean(), false),
  /** Days before the end at which the alarm sounds. */
  "alarm-days": z._default(z.array(z.int()), [60, 30, 14, 7, 1]),
  policy: z._default(z.record(nameSchema, ruleSchema), {}),
});

const configSchema = z.strictObject({
  version: z.literal(1),
  service: serviceSchema,
  store: z.optional(storeSchema),
  timestamp: z.optional(timestampSchema),
  oidc: z._default(z.record(nameSchema, oidcSchema), {}),
  users: z._default(z.record(nameSchema, userSchema), {}),
  keys: z._default(z.record(nameSchema, keySchema), {}),
  certificates: z._default(z.record(nameSchema, certificateSchema), {}),
});

export type SignerConfig = z.infer<typeof configSchema>;
export type UserConfig = SignerConfig["users"][string];
export type KeyConfig = SignerConfig["keys"][string];
export type CertificateConfig = SignerConfig["certificates"][string];
export type RuleConfig = CertificateConfig["policy"][string];
export type OidcConfig = SignerConfig["oidc"][string];
export type StoreConfig = NonNullable<SignerConfig["store"]>;
export type GatewayConfig = SignerConfig["service"]["gateways"][number];

/** Whether the process of this key must reach a network; every other one is started without. */
export function needsNetwork(key: KeyConfig): boolean {
  if (key.custody === "file") return false;
  return key.custody === "pkcs11" ? key.network : true;
}

export type LoadedConfig = { readonly config: SignerConfig; readonly sha256: string };

export type ConfigFault = { readonly line: number; readonly what: string };

/** `signing/bad-config` for faults of `file`. */
export function refuseConfig(file: string, faults: readonly ConfigFault[], cause?: unknown): SigningError {
  return new SigningError(
    "signing/bad-config",
    faults.map(({ line, what }) => `${file}:${line}: ${what}`).join("\n"),
    { file, line: faults[0]?.line ?? 1, faults: faults.map(({ line, what }) => `${line}: ${what}`) },
    { cause, hint: "Nothing was changed. Correct the file and try again." },
  );
}

/** `file` is only named in sentences. Errors: `signing/bad-config` with `file`, `line` and every bad field. */
export function parseConfig(text: string, file: string): LoadedConfig {
  const refuse = (faults: readonly ConfigFault[], cause?: unknown): SigningError =>
    refuseConfig(file, faults, cause);
  let raw: Json;
  try {
    raw = parse(text) as unknown as Json;
  } catch (cause) {
    const { line, message } = cause as { line?: number; message: string };
    throw refuse([{ line: line ?? 1, what: message.split("\n")[0]! }], cause);
  }
  let config: SignerConfig;
  try {
    config = checkSchema(configSchema, raw, "signer configuration");
  } catch (cause) {
    if (!(cause instanceof SchemaError)) throw cause;
    throw refuse(
      cause.faults.map(({ path, what }) => ({ line: lineOf(text, path), what })),
      cause,
    );
  }
  const faults = crossFaults(config).map(({ path, what }) => ({
    line: lineOf(text, path),
    what: `${path.join(".")}: ${what}`,
  }));
  if (faults.length > 0) throw refuse(faults);
  return { config, sha256: sha256Hex(toUtf8(text)) };
}

/** What one table says about another. */
function crossFaults(
  config: SignerConfig,
): readonly { readonly path: readonly string[]; readonly what: string }[] {
  const faults: { path: readonly string[]; what: string }[] = [];
  for (const [name, user] of Object.entries(config.users)) {
    if (user.kind === "ci" && config.oidc[user.issuer] === undefined) {
      faults.push({ path: ["users", name, "issuer"], what: `there is no issuer [oidc.${user.issuer}]` });
    }
    if (user.kind === "ci" && Object.keys(user.claims).length === 0) {
      faults.push({ path: ["users", name, "claims"], what: "at least one claim must be demanded" });
    }
  }
  const keys = new Map<string, string>();
  for (const [name, user] of Object.entries(config.users)) {
    for (const key of user.kind === "machine" ? user.keys : []) {
      const other = keys.get(key);
      if (other !== undefined)
        faults.push({ path: ["users", name, "keys"], what: `the user ${other} has the same key` });
      keys.set(key, name);
    }
  }
  for (const [name, certificate] of Object.entries(config.certificates)) {
    const at = ["certificates", name];
    if (config.keys[certificate.key] === undefined) {
      faults.push({ path: [...at, "key"], what: `there is no key [keys.${certificate.key}]` });
    }
    for (const [ruleName, rule] of Object.entries(certificate.policy)) {
      const path = [...at, "policy", ruleName];
      for (const [list, field] of [
        [rule.users, "users"],
        [rule.approvers, "approvers"],
      ] as const) {
        for (const user of list) {
          if (config.users[user] === undefined)
            faults.push({ path: [...path, field], what: `there is no user "${user}"` });
        }
      }
      const approvers = rule.approvers.filter((user) => {
        const found = config.users[user];
        return found !== undefined && found.roles.includes("approver");
      });
      for (const user of rule.approvers) {
        if (config.users[user] !== undefined && !approvers.includes(user)) {
          faults.push({ path: [...path, "approvers"], what: `the user "${user}" has not the role approver` });
        }
        if (config.users[user]?.kind === "ci") {
          faults.push({
            path: [...path, "approvers"],
            what: `"${user}" is a pipeline; only people and their machines approve`,
          });
        }
      }
      if (rule.approvals > new Set(approvers).size) {
        faults.push({
          path: [...path, "approvals"],
          what: `${rule.approvals} approvals are demanded, but only ${new Set(approvers).size} approvers are named`,
        });
      }
    }
  }
  return faults;
}
