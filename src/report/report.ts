// The report: what happened on a device, said by the device under its own signature, in an unbroken chain.

import { toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { signEnvelope, verifyEnvelope, type DsseSigner, type DsseVerifier } from "../core/dsse.ts";
import { checkWritten, growing, needing, programSchema } from "../core/growth.ts";
import { instantSchema, nameSchema, sha256Schema, versionSchema, z } from "../core/schema.ts";
import {
  codeSchema,
  deviceIdSchema,
  lineSchema,
  readGrowingMessage,
  repeated,
  textSchema,
} from "../message/common.ts";
import { REPORT_LIMIT } from "../message/reports.ts";
import { ReportError } from "./errors.ts";
import { OUTCOMES, REPAIRED, type Outcome } from "./outcomes.ts";

const count = z.number().check(z.int(), z.minimum(0), z.maximum(Number.MAX_SAFE_INTEGER));
/** Ids that a device draws: 16 random bytes. */
const idSchema = z.string().check(z.regex(/^[0-9a-f]{32}$/, "expected 32 lower-case hex digits"));
const stepSchema = z.string().check(z.regex(/^[a-z][a-z-]{0,39}$/, "expected a step such as probation"));
/** Which start of the machine this was; on Linux the kernel's boot id without dashes. */
const bootSchema = z.string().check(z.regex(/^[0-9a-f]{32}$/, "expected 32 lower-case hex digits"));

const common = {
  ...needing,
  /** Which agent says it. */
  agent: z.exactOptional(programSchema),
  /** Idempotency key: the server counts a report with this id once, however often it arrives. */
  id: idSchema,
  device: deviceIdSchema,
  /** 1, 2, 3, …: with `previous` a missing report shows. */
  sequence: z.number().check(z.int(), z.minimum(1), z.maximum(Number.MAX_SAFE_INTEGER)),
  /** SHA-256 of the payload of the report before this one; null in the first. */
  previous: z.nullable(sha256Schema),
  issued: instantSchema,
  boot: bootSchema,
};

const attemptSchema = growing({
  ...common,
  kind: z.literal("attempt"),
  attempt: idSchema,
  product: nameSchema,
  /** Null when nothing was installed before. */
  from: z.nullable(versionSchema),
  to: versionSchema,
  outcome: z.enum(OUTCOMES),
  /** Of the error that ended the attempt; absent on success only. */
  code: z.exactOptional(codeSchema),
  /** The step that the attempt reached. */
  step: stepSchema,
  started: instantSchema,
  /** Milliseconds by the monotonic clock, over restarts of the agent. */
  duration: count,
  /** Fetched for this attempt. */
  bytes: count,
  source: z.enum(["origin", "mirror", "peer", "bundle", "none"]),
  /** Where the artifact's bytes came from: fetched whole from a kind of source, fetched as patches, taken from the old version. */
  bytesBy: z.exactOptional(
    growing({
      origin: z.exactOptional(count),
      mirror: z.exactOptional(count),
      peer: z.exactOptional(count),
      bundle: z.exactOptional(count),
      patch: z.exactOptional(count),
      own: z.exactOptional(count),
    }),
  ),
  /** Code of what went wrong on the way to the bytes that was tried first. */
  detour: z.exactOptional(codeSchema),
  /** What really runs after the attempt. */
  running: z.nullable(versionSchema),
  reason: z.exactOptional(textSchema(1000)),
});

const inventorySchema = growing({
  ...common,
  kind: z.literal("inventory"),
  components: z
    .array(
      growing({
        product: nameSchema,
        /** What really runs, not merely what is installed; null when nothing does. */
        running: z.nullable(versionSchema),
        /** SHA-256 of the `release.json` target of the running version. */
        manifestSha256: z.nullable(sha256Schema),
        /** The last version that came through its probation. */
        committed: z.nullable(versionSchema),
        floor: z.nullable(versionSchema),
        /** What lies on the disk: the installed version and those that are kept to go back to. */
        slots: z.exactOptional(
          z
            .array(z.strictObject({ version: versionSchema, sha256: sha256Schema, current: z.boolean() }))
            .check(z.maxLength(8)),
        ),
      }),
    )
    .check(
      z.maxLength(64),
      z.refine((list) => repeated(list.map((c) => c.product)).length === 0, "a product appears twice"),
    ),
  platform: z.exactOptional(
    growing({
      os: z.enum(["linux", "windows", "darwin"]),
      arch: z.enum(["x64", "arm64"]),
      libc: z.exactOptional(z.enum(["glibc", "musl"])),
      osVersion: z.exactOptional(lineSchema(64)),
    }),
  ),
  /** Bytes of the disk that the agent's folder is on. */
  disk: z.exactOptional(z.strictObject({ free: count, total: count })),
});

const alarmSchema = growing({
  ...common,
  kind: z.literal("alarm"),
  code: codeSchema,
  since: instantSchema,
  product: z.exactOptional(nameSchema),
  reason: textSchema(1000),
});

export const reportSchema = z.discriminatedUnion("kind", [attemptSchema, inventorySchema, alarmSchema]);
export type Report = z.infer<typeof reportSchema>;
export type AttemptReport = z.infer<typeof attemptSchema>;
export type InventoryReport = z.infer<typeof inventorySchema>;
export type AlarmReport = z.infer<typeof alarmSchema>;
/**
 * How the attempt went, for people and for rules about rollouts: a repair is told apart from an update by its two equal versions,
 * which no update has. That keeps to the form of version 1, in which steps may grow and outcomes may not.
 */
export function resultOf(report: AttemptReport): Outcome | typeof REPAIRED {
  const repaired = report.outcome === "success" && report.step === REPAIRED && isRepair(report);
  if (repaired) return REPAIRED;
  // Older agents say so of a first install that failed, too.
  return report.outcome === "rolled-back" && report.from === null ? "failure" : report.outcome;
}

/** True for an attempt at putting back what was installed already: it says nothing about how good the release is. */
export function isRepair(report: Pick<AttemptReport, "from" | "to">): boolean {
  return report.from === report.to;
}

export type ReportKind = Report["kind"];

/** A report as it stands in an outbox: the envelope to send, and what the next report will name as its `previous`. */
export type SignedReport = { readonly envelope: Uint8Array; readonly payloadSha256: string };

/** Signs with the device's report key. Errors: `report/incoherent`, `report/too-large`, `schema/invalid`. */
export async function signReport(report: Report, key: DsseSigner): Promise<SignedReport> {
  const body = toUtf8(JSON.stringify(report));
  checkWritten(reportSchema, report, "report");
  // What would be refused at the other end is refused here, where the cause can still be seen.
  readReport(body);
  const envelope = await signEnvelope("report", body, [key]);
  if (envelope.length > REPORT_LIMIT) {
    throw new ReportError(
      "report/too-large",
      `The report is larger than the allowed ${REPORT_LIMIT} bytes.`,
      {
        limit: REPORT_LIMIT,
        length: envelope.length,
      },
    );
  }
  return { envelope, payloadSha256: sha256Hex(body) };
}

/** A report whose signature was checked. */
export type OpenedReport = { readonly report: Report; readonly payloadSha256: string };

/**
 * The one place where a report is believed: it must be signed by `key`, the report key of `device`, and speak of that device.
 * Errors: `dsse/*`, `json/*`, `growth/needs-newer`, `schema/invalid`, `report/wrong-device`, `report/incoherent`.
 */
export function openReport(
  envelope: Uint8Array,
  expected: { readonly key: DsseVerifier; readonly device: string },
): OpenedReport {
  const { body } = verifyEnvelope(envelope, "report", [expected.key], { limit: REPORT_LIMIT });
  const report = readReport(body);
  if (report.device !== expected.device) {
    throw new ReportError(
      "report/wrong-device",
      `The report speaks of device ${report.device} but was brought by ${expected.device}: a device may report on itself only.`,
      { expected: expected.device, found: report.device },
    );
  }
  return { report, payloadSha256: sha256Hex(body) };
}

function readReport(body: Uint8Array): Report {
  const report = readGrowingMessage(body, reportSchema, "report", REPORT_LIMIT);
  const wrong = incoherence(report);
  if (wrong !== null) {
    throw new ReportError("report/incoherent", `The report contradicts itself: ${wrong}.`, { id: report.id });
  }
  return report;
}

function incoherence(report: Report): string | null {
  if ((report.sequence === 1) !== (report.previous === null))
    return "only the first report has no previous one";
  if (report.kind !== "attempt") return null;
  if (report.outcome === "success" && report.code !== undefined) return "a success carries an error code";
  if (report.outcome !== "success" && report.code === undefined)
    return "an attempt that did not succeed carries no code";
  // Success only after the new version proved healthy, so the new version is what runs.
  if (report.outcome === "success" && report.running !== report.to)
    return "a success whose new version does not run";
  return null;
}

/** Where a device's chain of reports stands. */
export type ChainPlace = { readonly sequence: number; readonly payloadSha256: string };

/**
 * How a report fits behind the last one known of its device.
 * `gap`: reports in between are missing. `old`: it stands at or before the last one. `fork`: it should follow the last one but names another.
 */
export function chainFit(last: ChainPlace | null, report: Report): "next" | "gap" | "old" | "fork" {
  if (last === null) return report.sequence === 1 ? "next" : "gap";
  if (report.sequence <= last.sequence) return "old";
  if (report.sequence > last.sequence + 1) return "gap";
  return report.previous === last.payloadSha256 ? "next" : "fork";
}
