// Tells people in time that a role of the repository will expire: one log line at each alarm day, and gauges.

import { hash } from "node:crypto";
import type { Disk } from "../../core/disk.ts";
import { DAY, parseInstant, SECOND, type Instant } from "../../core/instant.ts";
import type { Log } from "../../io/system/log.ts";
import { ALARM_DAYS, alarmOf, type Alarm } from "../../repository/publish/publisher-policy.ts";
import { hasRepository, readPublished, type Published } from "../../repository/publish/published.ts";
import { mainRoleStatus, repositoryStatus, type RoleStatus } from "../../repository/publish/status.ts";
import type { Metrics } from "./metrics.ts";

const GAUGES = [
  "upkeep_repository_role_expires_seconds",
  "upkeep_repository_role_days_left",
  "upkeep_repository_role_alarm",
] as const;

export class ExpiryWatch {
  readonly #folder: string;
  readonly #parts: { readonly disk: Disk; readonly metrics: Metrics; readonly log: Log };
  /** The state that `#roles` describes: which root, and which versions of all the roles that people sign. */
  #seen = "";
  #roles: readonly RoleStatus[] = [];
  /** The loudest alarm that was told, by role. */
  readonly #told = new Map<string, Alarm>();

  constructor(folder: string, parts: { readonly disk: Disk; readonly metrics: Metrics; readonly log: Log }) {
    this.#folder = folder;
    this.#parts = parts;
  }

  /** Reads what changed since the last look, and tells what time has brought. Errors: `publisher/*`, `disk/*`. */
  async look(now: Instant): Promise<void> {
    const { disk } = this.#parts;
    if (!(await hasRepository(disk, this.#folder))) return;
    const published = await readPublished(disk, this.#folder);
    const state = stateOf(published);
    if (state === this.#seen) {
      // A renewal by the server touches snapshot and timestamp alone: the other files, which may be many, are not read again.
      const main = new Map(mainRoleStatus(published, now).map((role) => [role.role, role]));
      this.#roles = this.#roles.map((role) => main.get(role.role) ?? role);
    } else {
      this.#roles = (await repositoryStatus(published, now)).roles;
      this.#seen = state;
    }
    for (const gauge of GAUGES) this.#parts.metrics.forget(gauge);
    for (const role of this.#roles) this.#tell(role, now);
  }

  #tell(status: RoleStatus, now: Instant): void {
    const { metrics, log } = this.#parts;
    const { role, online, couldSign, signedBy, threshold } = status;
    const expires = parseInstant(status.expires);
    // Roles that the server renews are always near their end; they matter when they get there.
    const alarm = online && expires > now ? "none" : alarmOf(expires, now);
    const daysLeft = Math.floor((expires - now) / DAY);
    const labels = { role, by: online ? "server" : "people", keys: couldSign.join(",") };
    metrics.set("upkeep_repository_role_expires_seconds", labels, expires / SECOND);
    metrics.set("upkeep_repository_role_days_left", labels, daysLeft);
    metrics.set("upkeep_repository_role_alarm", labels, loudness(alarm));

    const before = this.#told.get(role) ?? "none";
    this.#told.set(role, alarm);
    if (loudness(alarm) === loudness(before)) return;
    const facts = { role, expires: status.expires, daysLeft, threshold, signedBy, couldSign };
    if (loudness(alarm) < loudness(before)) {
      log("info", "repository/role-renewed", facts);
      return;
    }
    if (alarm === "expired") {
      const reason = `The metadata of ${role} has expired: devices refuse updates until it is signed again.`;
      log("error", "repository/role-expired", { ...facts, reason });
      return;
    }
    const reason = `The metadata of ${role} expires in less than ${alarm} ${alarm === 1 ? "day" : "days"}: ${threshold} of ${couldSign.join(", ")} must sign it again.`;
    const level = typeof alarm === "number" && alarm <= 7 ? "error" : "warn";
    log(level, "repository/role-expiring", { ...facts, alarmDays: alarm, reason });
  }
}

/** 0 for none, up to 6 for expired. */
function loudness(alarm: Alarm): number {
  if (alarm === "none") return 0;
  return alarm === "expired" ? ALARM_DAYS.length + 1 : ALARM_DAYS.indexOf(alarm) + 1;
}

function stateOf({ root, snapshot }: Published): string {
  const rows = [...snapshot.signed.meta].map(([role, { version }]) => `${version} ${role}`);
  return hash("sha256", [root.signed.version, ...rows].join("\n"), "hex");
}
