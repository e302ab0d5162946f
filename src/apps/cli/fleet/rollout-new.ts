// What `fleet rollout new` and `fleet rollout plan` do.

import { toHex } from "../../../core/bytes.ts";
import { parseInstant, type Instant } from "../../../core/instant.ts";
import { versionSchema, z } from "../../../core/schema.ts";
import { compareVersions, parseVersion } from "../../../core/version.ts";
import { findDevice } from "../../../fleet/devices.ts";
import { FleetError } from "../../../fleet/errors.ts";
import { DEFAULT_INTERVAL } from "../../../fleet/enrol.ts";
import { liveness } from "../../../fleet/liveness.ts";
import { neededApprovals } from "../../../fleet/rollout/approvals.ts";
import { planRollout, startRollout } from "../../../fleet/rollout/change.ts";
import { concerns, phaseOf } from "../../../fleet/rollout/cohort.ts";
import {
  checkPlan,
  DEFAULT_PHASES,
  parsePhase,
  phaseText,
  type RolloutPlan,
} from "../../../fleet/rollout/plan.ts";
import { parseWindow } from "../../../fleet/rollout/window.ts";
import type { Phase } from "../../../fleet/rollout-record.ts";
import type { FleetReads } from "../../../fleet/store.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { columns, count } from "../../framework/style.ts";
import { actor, readFleet, withFleet } from "../records/open-store.ts";
import { checkName, nameAt } from "./naming.ts";
import { ownCatalogue } from "./own-catalogue.ts";
import { startedText } from "./rollout.ts";
import { rolloutJson } from "./rollout-json.ts";

const MOST = 1_000_000_000;

export async function rolloutNew(call: Call): Promise<Result> {
  const draft = await draftOf(call);
  const rollout = await withFleet(call, async (records, now) => {
    const made = await planRollout(records, now, await completed(call, records, draft, now), actor());
    return call.flag("start") ? startRollout(records, now, made.id, actor()) : made;
  });
  const { id, product, version, approvals } = rollout;
  const next = call.flag("start")
    ? startedText(rollout)
    : approvals > 0
      ? `It needs ${count(approvals, "approval")} from other people: upkeep fleet rollout approve ${id}`
      : `Start it: upkeep fleet rollout start ${id}`;
  const lines = [
    `${id}: ${product} ${version} to ${groupsText(rollout.groups)}`,
    ...phaseLines(rollout.phases),
  ];
  return { text: [...lines, next].join("\n"), json: rolloutJson(rollout) };
}

/** `1  10%`, a line a phase. */
export function phaseLines(phases: readonly Phase[]): readonly string[] {
  return phases.map((phase, at) => `  phase ${at + 1}: ${phaseText(phase)}`);
}

export function groupsText(groups: readonly string[]): string {
  return groups.length === 0 ? "every group with the product" : groups.join(", ");
}

type Fate = {
  readonly device: string;
  readonly name: string;
  readonly group: string;
  /** From 1; null for a device that does not get it. */
  readonly phase: number | null;
  /** Why not, or what is special. */
  readonly why: string | null;
};

export async function rolloutPlan(call: Call): Promise<Result> {
  const draft = await draftOf(call);
  const { fates, plan } = await readFleet(call, async (records, now) => {
    const plan = await completed(call, records, draft, now);
    checkPlan(plan, now);
    return { plan, fates: await fatesOf(records, plan, now) };
  });
  const gets = fates.filter(({ phase }) => phase !== null);
  const summary = plan.phases.map((phase, at) => {
    const own = gets.filter((fate) => fate.phase === at + 1).length;
    return `  phase ${at + 1}: ${phaseText(phase)}: ${count(own, "device")}`;
  });
  const rows = fates
    .toSorted((a, b) => (a.phase ?? Infinity) - (b.phase ?? Infinity) || (a.name < b.name ? -1 : 1))
    .map(({ device, name, group, phase, why }) => [
      phase === null ? "no" : `phase ${phase}`,
      name,
      device,
      group,
      why ?? "",
    ]);
  return {
    text: [
      `${plan.product} ${plan.version} to ${groupsText(plan.groups)}: ${gets.length} of ${count(fates.length, "device")} would get it. Nothing was written.`,
      ...summary,
      ...(rows.length === 0
        ? []
        : [columns([["WHEN", "NAME", "DEVICE", "GROUP", "WHY"], ...rows], call.context.width)]),
    ].join("\n"),
    json: {
      product: plan.product,
      version: plan.version,
      phases: plan.phases.map((phase, at) => ({
        phase: phaseText(phase),
        devices: gets.filter((fate) => fate.phase === at + 1).length,
      })),
      devices: fates,
    },
  };
}

async function fatesOf(records: FleetReads, plan: RolloutPlan, now: Instant): Promise<readonly Fate[]> {
  const { product, version } = plan;
  const groups = new Map((await records.groups()).map(({ name, interval }) => [name, interval]));
  const assigned = new Set(
    (await records.allDesired()).filter((one) => one.product === product).map(({ group }) => group),
  );
  const running = new Map<string, string>();
  for (let after = ""; ;) {
    const page = await records.runningOf(product, after, 1000);
    for (const row of page) running.set((after = row.device), row.running);
    if (page.length < 1000) break;
  }
  const fates: Fate[] = [];
  for (let after = ""; ;) {
    const page = await records.roster(after, 1000);
    for (const device of page) {
      after = device.id;
      const { id, name, group } = device;
      const runs = running.get(id) ?? null;
      const order = runs === null ? -1 : compareVersions(parseVersion(runs), parseVersion(version));
      const no =
        device.status !== "active"
          ? device.status
          : !concerns(plan, group)
            ? `the group ${group} is not in the rollout`
            : !assigned.has(group)
              ? `${product} is not assigned to the group ${group}`
              : order === 0
                ? "runs it already"
                : order > 0
                  ? `runs the newer ${runs!}`
                  : null;
      const state = liveness(device, groups.get(group) ?? DEFAULT_INTERVAL, now);
      const special = state === "dead" ? "not seen for long: gets it when it comes back" : null;
      const phase = no === null ? phaseOf(plan, device) : null;
      fates.push({ device: id, name, group, phase: phase === null ? null : phase + 1, why: no ?? special });
    }
    if (page.length < 1000) return fates;
  }
}

type Draft = { readonly product: string; readonly version: string; readonly manifestSha256: string };

/** Which release; it has to be listed. Errors: `cli/usage`, `fleet/unknown-release`, `fleet/no-repository`. */
async function draftOf(call: Call): Promise<Draft> {
  const product = nameAt(call, 0);
  const [version, channel] = [call.argumentOr(1), call.text("channel")];
  if ((version === undefined) === (channel === undefined))
    throw usage("Give a version or --channel, so that it is clear which release is meant.");
  if (version !== undefined && !z.safeParse(versionSchema, version).success)
    throw usage(`"${version.slice(0, 80)}" is not a version such as 1.4.0.`);
  if (channel !== undefined) checkName(channel);
  const wanted = { product, channel: channel ?? "", version: version ?? null };
  const catalogue = await ownCatalogue(call, [wanted]);
  if (catalogue === null)
    throw new FleetError("fleet/no-repository", "There is no repository in this data folder.", {
      data: call.context.data,
    });
  const listed =
    version === undefined ? catalogue.current(product, channel!) : catalogue.byVersion(product, version);
  if (listed !== null) return { product, ...listed };
  throw new FleetError(
    "fleet/unknown-release",
    version === undefined
      ? `Nothing is published at ${product}/${channel!}.`
      : `The repository lists no release ${version} of ${product}.`,
    { product, version: version ?? null, channel: channel ?? null },
    { hint: "`upkeep release list` shows the releases that are there; `upkeep release add` makes one." },
  );
}

async function completed(call: Call, records: FleetReads, draft: Draft, now: Instant): Promise<RolloutPlan> {
  const phases: Phase[] = [];
  const canaries = call.list("canary");
  if (canaries.length > 0) phases.push(await withIds(records, parsePhase(`device:${canaries.join(",")}`)));
  const given = call.list("phase");
  for (const text of given.length > 0 ? given : DEFAULT_PHASES)
    phases.push(await withIds(records, parsePhase(text)));
  const [startAt, deadline] = [call.text("start-at"), call.text("deadline")];
  const number = (name: string, least: number): number => call.whole(name, least, MOST) ?? least;
  const asked = await neededApprovals(records, draft.product);
  const own = call.whole("approvals", 0, 100);
  if (own !== undefined && own < asked)
    throw usage(
      `Rollouts of ${draft.product} need ${count(asked, "approval")} in this fleet.`,
      "`upkeep fleet rollout approvals` changes it, and the audit log says who did.",
    );
  void now;
  return {
    ...draft,
    groups: [...new Set(call.list("group").map(checkName))],
    phases,
    rules: {
      success: number("success", 0),
      failed: number("failed", 0),
      sample: number("sample", 0),
      soak: number("soak", 0),
      silent: number("silent-after", 0),
    },
    windows: call.list("window").map(parseWindow),
    startAt: startAt === undefined ? null : parseInstant(startAt),
    deadline: deadline === undefined ? null : parseInstant(deadline),
    approvals: own ?? asked,
    salt: toHex(call.context.random.bytes(16)),
  };
}

/** People name devices as they like; a rollout keeps their ids. Errors: `fleet/unknown-device`, `fleet/ambiguous-device`. */
async function withIds(records: FleetReads, phase: Phase): Promise<Phase> {
  const devices: string[] = [];
  for (const name of phase.devices) devices.push((await findDevice(records, name)).id);
  return { ...phase, devices };
}
