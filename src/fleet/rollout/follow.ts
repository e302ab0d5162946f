// What a server does with rollouts by itself: starts what is due, judges what runs, ends what was recalled.

import { parseVersion, compareVersions } from "../../core/version.ts";
import type { Instant } from "../../core/instant.ts";
import { appendAudit } from "../audit.ts";
import type { Catalogue } from "../decide.ts";
import type { Rollout } from "../rollout-record.ts";
import type { FleetRecords } from "../store.ts";
import { change, haltFacts, openNext } from "./change.ts";
import { concerns } from "./cohort.ts";
import type { Verdict } from "./judge.ts";

const SERVER = "server";

/** What time and the repository alone decide; null when nothing. */
export function dueEvent(
  rollout: Rollout,
  recalled: (product: string, version: string) => boolean,
  now: Instant,
): "due" | "recall" | null {
  if (rollout.state === "recalled") return null;
  if (recalled(rollout.product, rollout.version)) return "recall";
  return rollout.state === "scheduled" && rollout.startAt !== null && rollout.startAt <= now ? "due" : null;
}

/** Carries out `dueEvent` on the rollout as it is now in the store. */
export async function takeDue(
  records: FleetRecords,
  now: Instant,
  id: string,
  event: "due" | "recall",
): Promise<Rollout | null> {
  const rollout = await records.rollout(id);
  if (rollout === null) return null;
  if (event === "due") {
    if (rollout.state !== "scheduled") return null;
    const open = { phase: 0, phaseSince: now, started: now };
    return change(records, now, SERVER, rollout, "due", open, "rollout/started", { phase: 1 });
  }
  if (rollout.state === "recalled") return null;
  await unpin(records, now, rollout);
  return change(records, now, SERVER, rollout, "recall", { ended: now }, "rollout/recalled", {
    version: rollout.version,
  });
}

/** Carries out a verdict that was reached on `revision`; null when the rollout has changed since, or waits. */
export async function takeVerdict(
  records: FleetRecords,
  now: Instant,
  judged: Pick<Rollout, "id" | "revision">,
  verdict: Verdict,
  catalogue: Catalogue,
): Promise<Rollout | null> {
  if (verdict.kind === "wait") return null;
  const rollout = await records.rollout(judged.id);
  if (rollout === null || rollout.revision !== judged.revision || rollout.state !== "running") return null;
  if (verdict.kind === "halt") {
    const { halt } = verdict;
    return change(records, now, SERVER, rollout, "halt", { halt }, "rollout/halted", haltFacts(halt));
  }
  if (rollout.phase < rollout.phases.length - 1) return openNext(records, now, rollout, SERVER, verdict.why);
  const pinned = await pin(records, now, rollout, catalogue);
  const end = { ended: now, pinned };
  return change(records, now, SERVER, rollout, "finish", end, "rollout/done", { why: verdict.why });
}

/**
 * The release becomes what the groups have: where a group stayed at a version, and where its channel does not lead there yet. Devices that
 * come later get it without the rollout.
 */
async function pin(
  records: FleetRecords,
  now: Instant,
  rollout: Rollout,
  catalogue: Catalogue,
): Promise<Rollout["pinned"]> {
  const { product, version } = rollout;
  const pinned: { group: string; version: string | null }[] = [];
  for (const desired of await records.allDesired()) {
    if (desired.product !== product || !concerns(rollout, desired.group)) continue;
    const channel = desired.version ?? catalogue.current(product, desired.channel)?.version ?? null;
    if (channel !== null && compareVersions(parseVersion(channel), parseVersion(version)) >= 0) continue;
    pinned.push({ group: desired.group, version: desired.version });
    await records.putDesired({ ...desired, version, changed: now });
    await appendAudit(records, now, {
      actor: SERVER,
      action: "group/assigned",
      subject: desired.group,
      facts: { product, rollout: rollout.id, before: desired.version, after: version },
    });
  }
  return pinned;
}

/** What the rollout has set is put back where nobody changed it since. */
async function unpin(
  records: FleetRecords,
  now: Instant,
  { id, product, version, pinned }: Rollout,
): Promise<void> {
  for (const { group, version: before } of pinned) {
    const desired = (await records.desired(group)).find((one) => one.product === product);
    if (desired === undefined || desired.version !== version) continue;
    await records.putDesired({ ...desired, version: before, changed: now });
    await appendAudit(records, now, {
      actor: SERVER,
      action: "group/assigned",
      subject: group,
      facts: { product, rollout: id, before: version, after: before },
    });
  }
}
