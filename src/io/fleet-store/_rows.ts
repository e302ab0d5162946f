// Rows of the database as the fleet's records.

import type { Facts } from "../../core/errors.ts";
import type { Program } from "../../core/growth.ts";
import type { AuditRow } from "../../fleet/records.ts";
import type {
  Alarm,
  Desired,
  Device,
  DeviceComponent,
  DeviceStatus,
  Group,
  StoredReport,
  Token,
} from "../../fleet/records.ts";
import type { HoldReason } from "../../message/assignment.ts";
import type { UpdateStanding } from "../../message/check-in.ts";
import type { PlatformFacts, Running } from "../../message/common.ts";
import type { Tables } from "./schema.ts";

export function deviceOf(row: Tables["device"]): Device {
  return {
    id: row.id,
    name: row.name,
    group: row.group_name,
    status: row.status as DeviceStatus,
    enrolled: row.enrolled,
    token: row.token,
    platform: JSON.parse(row.platform_json) as PlatformFacts,
    reportKey: row.report_key,
    spki: row.spki,
    nextSpki: row.next_spki,
    certificateEnds: row.certificate_ends,
    lastSeen: row.last_seen,
    claimed: JSON.parse(row.claimed_json) as Running[],
    agent: row.agent_json === null ? null : (JSON.parse(row.agent_json) as Program),
    standing: row.standing as UpdateStanding | null,
    timestamp: row.timestamp_sha256,
    lastSequence: row.last_sequence,
    lastReport: row.last_report,
  };
}

export function componentOf(row: Tables["device_component"]): DeviceComponent {
  return {
    device: row.device,
    product: row.product,
    running: row.running,
    manifestSha256: row.manifest_sha256,
    committed: row.committed,
    floor: row.floor_version,
    sequence: row.sequence,
    at: row.at,
  };
}

export function groupOf(row: Tables["fleet_group"]): Group {
  return { name: row.name, interval: row.interval_seconds, created: row.created };
}

export function desiredOf(row: Tables["desired"]): Desired {
  return {
    group: row.group_name,
    product: row.product,
    channel: row.channel,
    version: row.version,
    hold: row.hold as HoldReason | null,
    holdUntil: row.hold_until,
    changed: row.changed,
  };
}

export function tokenOf(row: Tables["token"]): Token {
  return {
    id: row.id,
    secretSha256: row.secret_sha256,
    group: row.group_name,
    created: row.created,
    expires: row.expires,
    failures: row.failures,
    used: row.used,
    usedBy: row.used_by,
    uses: row.uses,
    // One that was taken from an older dump has been used once if it names a device.
    usedCount: Math.max(row.used_count, row.used_by === null ? 0 : 1),
    approval: row.approval !== 0,
  };
}

export function reportOf(row: Tables["report"]): StoredReport {
  const { from_version: from, to_version: to, payload_sha256: payloadSha256, ...same } = row;
  return { ...same, from, to, payloadSha256 };
}

export function alarmOf(row: Tables["alarm"]): Alarm {
  const { acknowledged_by: acknowledgedBy, acknowledged_at: acknowledgedAt, ...same } = row;
  return { ...same, acknowledgedBy, acknowledgedAt };
}

export function auditOf(row: Tables["audit"]): AuditRow {
  const { facts_json, ...same } = row;
  return { ...same, facts: JSON.parse(facts_json) as Facts };
}
