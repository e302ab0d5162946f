// What `fleet status`, `fleet progress` and `fleet why` do.

import { formatInstant } from "../../../core/instant.ts";
import { UpkeepError } from "../../../core/errors.ts";
import { EMPTY_CATALOGUE } from "../../../fleet/catalogue.ts";
import type { Catalogue } from "../../../fleet/decide.ts";
import { findDevice } from "../../../fleet/devices.ts";
import { FleetError } from "../../../fleet/errors.ts";
import { milestones } from "../../../fleet/insight/rollout-look.ts";
import { summary, survey, whyDevice, type SurveyRow, type Surveyed } from "../../../fleet/insight/survey.ts";
import type { Why } from "../../../fleet/insight/why.ts";
import { platformWord } from "../../../fleet/platform-word.ts";
import { phaseText } from "../../../fleet/rollout/plan.ts";
import type { FleetReads, FleetStore } from "../../../fleet/store.ts";
import type { Call, Result } from "../../framework/command.ts";
import { columns, count } from "../../framework/style.ts";
import { withStore } from "../records/open-store.ts";
import { limitOf, nameAt } from "./naming.ts";
import { ownCatalogue } from "./own-catalogue.ts";
import { instantOrNull, rolloutJson } from "./rollout-json.ts";
import { secondsText } from "./rollout-show.ts";

/** What the repository of this data folder offers of all that the fleet wants; nothing where it cannot be read. */
async function catalogueOf(call: Call, records: Pick<FleetStore, "read">): Promise<Catalogue> {
  const wanted = await records.read(async (reads) => {
    const desired = await reads.allDesired();
    const rollouts = (await reads.rollouts({ under: "way" })).map(({ product, version }) => ({
      product,
      channel: "",
      version,
    }));
    return [...desired, ...rollouts];
  });
  try {
    return (await ownCatalogue(call, wanted)) ?? EMPTY_CATALOGUE;
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    call.context.note(`The repository could not be read: ${error.message}`);
    return EMPTY_CATALOGUE;
  }
}

export async function fleetStatus(call: Call): Promise<Result> {
  const { rows, rollouts } = await withStore(call, async (store) => {
    const source = { read: store.read.bind(store) };
    const found = await survey(source, await catalogueOf(call, store), call.context.clock.now());
    const { desired, rollouts } = await store.read(async (reads) => ({
      desired: await reads.allDesired(),
      rollouts: await reads.rollouts({ under: "way" }),
    }));
    return { rows: summary(found, desired), rollouts };
  });
  const table = rows.map((row) => [
    row.group,
    row.product,
    row.target ?? "-",
    String(row.devices),
    String(row.current),
    String(row.failed),
    openText(row),
  ]);
  return {
    text: [
      table.length === 0
        ? "Nothing is assigned to any group."
        : columns(
            [["GROUP", "PRODUCT", "TO", "DEVICES", "CURRENT", "FAILED", "OPEN"], ...table],
            call.context.width,
          ),
      ...rows.flatMap(failureLines),
      ...rollouts.map((one) => {
        const phase =
          one.phase < 0
            ? ""
            : `, phase ${one.phase + 1} of ${one.phases.length} (${phaseText(one.phases[one.phase]!)})`;
        const halt =
          one.halt === null
            ? ""
            : `: ${one.halt.failed + one.halt.silent} of ${one.halt.finished} among ${one.halt.among} failed${one.halt.firstError === null ? "" : `: ${one.halt.firstError}`}`;
        return `rollout ${one.id} of ${one.product} ${one.version} is ${one.state} since ${formatInstant(one.since)}${phase}${halt}`;
      }),
    ].join("\n"),
    json: { groups: rows, rollouts: rollouts.map(rolloutJson) },
  };
}

function openText({ open }: SurveyRow): string {
  const parts = Object.entries(open).map(([rule, number]) => `${number} ${rule}`);
  return parts.length === 0 ? "none" : parts.join(", ");
}

function failureLines({ group, product, failures }: SurveyRow): readonly string[] {
  return failures.map(
    ({ platform, devices, code, firstError }) =>
      `${product} fails on ${count(devices, "device")} of ${group} on ${platform}: ${code}${firstError === null ? "" : `: ${firstError}`}`,
  );
}

export async function fleetProgress(call: Call): Promise<Result> {
  const product = nameAt(call, 0);
  const { found, rows, started, reached, target } = await withStore(call, async (store) => {
    const source = { read: store.read.bind(store) };
    const found = await survey(source, await catalogueOf(call, store), call.context.clock.now(), product);
    return store.read(async (reads) => {
      const desired = (await reads.allDesired()).filter((one) => one.product === product);
      if (desired.length === 0)
        throw new FleetError(
          "fleet/unknown-product",
          `${product} is assigned to no group.`,
          { product },
          {
            hint: "`upkeep fleet assign GROUP PRODUCT CHANNEL` assigns it; `upkeep fleet list` shows what is.",
          },
        );
      const rows = summary(found, desired);
      const target = rows.toSorted((a, b) => b.devices - a.devices)[0]?.target ?? null;
      return { found, rows, target, ...(await arrivals(reads, product, target)) };
    });
  });
  const active = found.filter(({ why }) => why.state !== "revoked");
  const there = active.filter(({ why }) => why.state === "current").length;
  const open = active.filter(({ why }) => why.state === "waits" || why.state === "behind");
  const times = milestones(reached, active.length, started);
  const shown = open.slice(0, limitOf(call));
  const known = times.filter(({ ms }) => ms !== null);
  return {
    text: [
      `${product} ${target ?? ""}: ${there} of ${count(active.length, "device")} run what they should; ${rows.reduce((all, row) => all + row.failed, 0)} failed, ${open.length} are open.`,
      ...(known.length === 0
        ? []
        : [
            `time since ${formatInstant(started!)}: ${known.map(({ percent, ms }) => `${percent} % after ${secondsText(ms!)}`).join(", ")}`,
          ]),
      ...rows.flatMap(failureLines),
      ...(shown.length === 0
        ? ["No device is left in between."]
        : [
            columns(
              [
                ["DEVICE", "NAME", "GROUP", "RULE", "SINCE", "WHY"],
                ...shown.map(({ device, why }) => [
                  device.id,
                  device.name,
                  device.group,
                  why.rule,
                  instantOrNull(why.since) ?? "-",
                  why.sentence,
                ]),
              ],
              call.context.width,
            ),
          ]),
    ].join("\n"),
    json: {
      product,
      target,
      devices: active.length,
      current: there,
      started: instantOrNull(started),
      times,
      groups: rows,
      open: open.map(surveyedJson),
    },
  };
}

/** When each device first reported to run the version, and since when it was meant to: the rollout's start, or the channel's promotion. */
async function arrivals(
  records: FleetReads,
  product: string,
  target: string | null,
): Promise<{ readonly started: number | null; readonly reached: readonly number[] }> {
  if (target === null) return { started: null, reached: [] };
  const reached = await records.arrivals(product, target);
  const rollout = (await records.rollouts({ product })).filter(({ version }) => version === target).at(-1);
  if (rollout !== undefined && rollout.started !== null) return { started: rollout.started, reached };
  const own = (await records.allDesired()).filter((one) => one.product === product);
  const since: number[] = [];
  for (const { channel, changed } of own) {
    const promoted = (await records.auditOf(`${product}/${channel}`, 1000))
      .filter(({ action, facts }) => action === "channel/promoted" && facts["after"] === target)
      .at(-1);
    since.push(Math.max(promoted?.at ?? 0, changed));
  }
  return { started: since.length === 0 ? null : Math.min(...since), reached };
}

export async function fleetWhy(call: Call): Promise<Result> {
  const product = call.argumentOr(1) === undefined ? null : nameAt(call, 1);
  const { device, found } = await withStore(call, async (store) => {
    const catalogue = await catalogueOf(call, store);
    return store.read(async (reads) => {
      const device = await findDevice(reads, call.argument(0));
      const platform = platformWord(device.platform);
      const labels = await reads.labels(device.id);
      const now = call.context.clock.now();
      return {
        device,
        found: await whyDevice(reads, catalogue, now, { ...device, platform, labels }, product),
      };
    });
  });
  const lines = found.map(
    (one) =>
      `${one.product}: ${one.state}${one.target === null ? "" : ` (to ${one.target})`}: ${one.rule}${one.since === null ? "" : ` since ${formatInstant(one.since)}`}${one.until === null ? "" : ` until ${formatInstant(one.until)}`}\n    ${one.sentence}`,
  );
  const none =
    product === null
      ? `Nothing is assigned to the group ${device.group} of ${device.name}.`
      : `${product} is not assigned to the group ${device.group} of ${device.name}.`;
  return {
    text: lines.length === 0 ? none : lines.join("\n"),
    json: {
      device: device.id,
      name: device.name,
      group: device.group,
      products: found.map(whyJson),
      ...(found.length === 0 ? { rule: "not-assigned", sentence: none } : {}),
    },
  };
}

function whyJson({ since, until, failure, ...same }: Why): object {
  return {
    ...same,
    since: instantOrNull(since),
    until: instantOrNull(until),
    failure: failure === null ? null : { ...failure, at: formatInstant(failure.at) },
  };
}

function surveyedJson({ device, why }: Surveyed): object {
  return { device: device.id, name: device.name, group: device.group, ...whyJson(why) };
}
