// The gateway's configuration: who may offer signing, and how much anybody may use.

import { parse } from "smol-toml";
import type { Json } from "../../core/json.ts";
import { checkSchema, nameSchema, SchemaError, sha256Schema, z } from "../../core/schema.ts";
import { lineOf } from "../../core/toml-line.ts";
import { SigningError } from "../errors.ts";
import { logFileSettings } from "../policy/log-settings.ts";

const endpoint = z
  .string()
  .check(z.regex(/^(?:\[[0-9a-f:]+\]|[^:[\]\s]+):\d{1,5}$/, "expected address:port, such as 0.0.0.0:7443"));
const loopback = z
  .string()
  .check(
    z.regex(
      /^(?:127\.0\.0\.1|\[::1\]):\d{1,5}$/,
      "expected an address of this machine, such as 127.0.0.1:7445",
    ),
  );
const amount = (least: number, most: number) => z.int().check(z.minimum(least), z.maximum(most));

const gatewaySchema = z.strictObject({
  version: z.literal(1),
  listen: z.strictObject({
    clients: endpoint,
    signers: endpoint,
    /** Counters, for this machine only; without it there are none to read. */
    metrics: z.optional(loopback),
  }),
  /** Signers by the SHA-256 of their key. */
  signers: z.record(nameSchema, z.strictObject({ spki: sha256Schema })),
  clients: z._default(
    z.strictObject({
      /** Keys that may connect; without it every key may, and the signer alone decides. */
      allow: z.optional(z.array(sha256Schema)),
    }),
    {},
  ),
  service: z.prefault(
    z.strictObject({
      "log-level": z._default(z.enum(["error", "warn", "info", "debug"]), "info"),
      ...logFileSettings,
    }),
    {},
  ),
  limits: z.prefault(
    z.strictObject({
      "session-bytes": z._default(amount(64 * 1024, 1024 * 1024 * 1024), 1024 * 1024),
      "idle-seconds": z._default(amount(1, 3600), 60),
      "session-minutes": z._default(amount(1, 240), 20),
      "wait-seconds": z._default(amount(1, 300), 30),
      waiting: z._default(amount(1, 100_000), 1024),
      "sessions-per-identity": z._default(amount(1, 100_000), 64),
      "sessions-per-address": z._default(amount(1, 100_000), 128),
      /** Unfinished TLS handshakes of one address. */
      "handshakes-per-address": z._default(amount(1, 100_000), 64),
      "connects-per-second": z._default(amount(1, 100_000), 20),
      "connects-burst": z._default(amount(1, 100_000), 100),
      "bytes-per-second": z._default(amount(1024, 1024 * 1024 * 1024), 4 * 1024 * 1024),
      "address-bytes-per-second": z._default(amount(1024, 1024 * 1024 * 1024), 16 * 1024 * 1024),
      /** Idle connections that one signer may keep here. */
      "idle-per-signer": z._default(amount(1, 10_000), 64),
      "signer-connects-per-second": z._default(amount(1, 100_000), 50),
      connections: z._default(amount(1, 100_000), 4096),
    }),
    {},
  ),
});
export type GatewayConfig = z.infer<typeof gatewaySchema>;

/** Errors: `signing/bad-config` with the line. */
export function parseGatewayConfig(text: string, file: string): GatewayConfig {
  const refuse = (line: number, what: string, cause: unknown): SigningError =>
    new SigningError("signing/bad-config", `${file}:${line}: ${what}`, { file, line }, { cause });
  let raw: Json;
  try {
    raw = parse(text) as unknown as Json;
  } catch (cause) {
    const { line, message } = cause as { line?: number; message: string };
    throw refuse(line ?? 1, message.split("\n")[0]!, cause);
  }
  try {
    return checkSchema(gatewaySchema, raw, "gateway configuration");
  } catch (cause) {
    if (!(cause instanceof SchemaError)) throw cause;
    const { path, what } = cause.faults[0] ?? { path: [], what: cause.message };
    throw refuse(lineOf(text, path), what, cause);
  }
}
