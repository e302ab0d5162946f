// What a gateway counts, as its operator sees it: Prometheus text for a collector, JSON for `gateway status`.

import { checkSchema, lengthSchema, nameSchema, z } from "../../core/schema.ts";
import { parseJson } from "../../core/json.ts";

const countersSchema = z.strictObject({
  /** Sessions since the start, and those that run. */
  sessions: lengthSchema,
  active: lengthSchema,
  /** Connections of signers that wait for a client. */
  idle: lengthSchema,
  /** Clients that wait for a signer. */
  waiting: lengthSchema,
  /** Connections that were turned away since the start. */
  refused: lengthSchema,
  /** Payload that was copied since the start. */
  bytes: lengthSchema,
  /** Idle connections that fell silent or were too many. */
  dropped: lengthSchema,
  idleBySigner: z.record(nameSchema, lengthSchema),
  /** Open connections on both sides, handshakes that are not done among them. Gateways of before do not say it. */
  connections: z.exactOptional(lengthSchema),
  /** Descriptors that the process has open, and that the system allows it; absent where the system does not say. */
  descriptors: z.exactOptional(lengthSchema),
  descriptorsAllowed: z.exactOptional(lengthSchema),
});
export type Counters = Readonly<z.infer<typeof countersSchema>>;

export const MAX_COUNTERS = 256 * 1024;

/** Errors: `json/*`, `schema/invalid`. */
export function parseCounters(bytes: Uint8Array): Counters {
  return checkSchema(countersSchema, parseJson(bytes), "status of the gateway");
}

const METRICS: readonly (readonly [
  name: string,
  type: "counter" | "gauge",
  help: string,
  of: Exclude<keyof Counters, "idleBySigner">,
])[] = [
  ["sessions_total", "counter", "Sessions that were paired.", "sessions"],
  ["sessions_active", "gauge", "Sessions that run.", "active"],
  ["clients_waiting", "gauge", "Clients that wait for a signer.", "waiting"],
  ["refused_total", "counter", "Connections that were turned away.", "refused"],
  ["copied_bytes_total", "counter", "Bytes of payload that were copied.", "bytes"],
  [
    "signers_dropped_total",
    "counter",
    "Idle connections of signers that fell silent or were too many.",
    "dropped",
  ],
  ["connections", "gauge", "Open connections, those included whose handshake is not done.", "connections"],
  ["open_fds", "gauge", "Open file descriptors.", "descriptors"],
  ["max_fds", "gauge", "Open file descriptors that the system allows.", "descriptorsAllowed"],
];

/** Prometheus text format 0.0.4. */
export function prometheusText(counters: Counters): string {
  const lines = METRICS.flatMap(([name, type, help, of]) =>
    counters[of] === undefined
      ? []
      : [
          `# HELP upkeep_gateway_${name} ${help}`,
          `# TYPE upkeep_gateway_${name} ${type}`,
          `upkeep_gateway_${name} ${counters[of]}`,
        ],
  );
  const idle = "upkeep_gateway_idle_connections";
  lines.push(`# HELP ${idle} Connections of signers that wait for a client.`, `# TYPE ${idle} gauge`);
  // A signer's name is of letters, digits, dots and dashes: nothing to escape.
  for (const [signer, n] of Object.entries(counters.idleBySigner))
    lines.push(`${idle}{signer="${signer}"} ${n}`);
  return `${lines.join("\n")}\n`;
}
