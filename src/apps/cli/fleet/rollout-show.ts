// What `fleet rollout list` and `fleet rollout show` do.

import { formatInstant, SECOND } from "../../../core/instant.ts";
import type { AuditRow } from "../../../fleet/records.ts";
import { isOver, type Rollout } from "../../../fleet/rollout-record.ts";
import { phaseText } from "../../../fleet/rollout/plan.ts";
import { windowText } from "../../../fleet/rollout/window.ts";
import { needRollout } from "../../../fleet/rollout/change.ts";
import { lookAtRollout, type RolloutLook } from "../../../fleet/insight/rollout-look.ts";
import type { FleetStore } from "../../../fleet/store.ts";
import type { Call, Result } from "../../framework/command.ts";
import { columns, count } from "../../framework/style.ts";
import { readFleet, withStore } from "../records/open-store.ts";
import { groupsText } from "./rollout-new.ts";
import { instantOrNull, rolloutJson } from "./rollout-json.ts";

export async function rolloutList(call: Call): Promise<Result> {
  const product = call.text("product");
  const rollouts = await readFleet(call, (records) =>
    records.rollouts({
      ...(product === undefined ? {} : { product }),
      ...(call.flag("all") ? {} : { under: "way" as const }),
    }),
  );
  const rows = rollouts.map((one) => [
    one.id,
    `${one.product} ${one.version}`,
    one.state,
    one.phase < 0 ? "-" : `${one.phase + 1} of ${one.phases.length} (${phaseText(one.phases[one.phase]!)})`,
    groupsText(one.groups),
    formatInstant(one.ended ?? one.phaseSince ?? one.created),
  ]);
  const none = call.flag("all") ? "There are no rollouts." : "No rollout is under way.";
  return {
    text:
      rows.length === 0
        ? none
        : columns([["ROLLOUT", "RELEASE", "STATE", "PHASE", "GROUPS", "SINCE"], ...rows], call.context.width),
    json: { rollouts: rollouts.map(rolloutJson) },
  };
}

const HISTORY = 200;
const REDRAW = 2 * SECOND;

export async function rolloutShow(call: Call): Promise<Result> {
  const id = call.argument(0);
  return withStore(call, async (store) => {
    const { context } = call;
    const { stdout } = context.terminal;
    if (call.flag("watch") && stdout.isTTY === true && !context.json) {
      await watch(call, store, id);
      return { streamed: true };
    }
    const { look, history } = await lookInto(call, store, id);
    return { text: pageOf(call, look, history), json: jsonOf(look, history) };
  });
}

/** Draws the page over itself until the rollout is over, or the person has seen enough. */
async function watch(call: Call, store: FleetStore, id: string): Promise<void> {
  const { clock, signal, terminal } = call.context;
  for (let lines = 0; ;) {
    const { look } = await lookInto(call, store, id);
    const page = pageOf(call, look, []).split("\n");
    terminal.stdout.write(`${lines > 0 ? `\u001b[${lines}A` : ""}\u001b[J${page.join("\n")}\n`);
    lines = page.length;
    if (isOver(look.rollout.state)) return;
    try {
      await clock.sleep(REDRAW, signal);
    } catch {
      return;
    }
  }
}

async function lookInto(
  call: Call,
  store: FleetStore,
  id: string,
): Promise<{ readonly look: RolloutLook; readonly history: readonly AuditRow[] }> {
  const rollout = await store.read((records) => needRollout(records, id));
  const look = await lookAtRollout({ read: store.read.bind(store) }, rollout, call.context.clock.now());
  const wanted = call.flag("history");
  const history = wanted ? await store.read((records) => records.auditOf(id, HISTORY)) : [];
  return { look, history };
}

function pageOf(call: Call, look: RolloutLook, history: readonly AuditRow[]): string {
  const { rollout, tally, phases, failures, next } = look;
  const { style } = call.context;
  const paint = rollout.state === "halted" ? style.bad : rollout.state === "done" ? style.good : style.strong;
  const rows = phases.map(({ phase, tally: own }, at) => [
    `${at === rollout.phase && !isOver(rollout.state) ? ">" : " "} ${at + 1}`,
    phaseText(phase),
    String(sum(own)),
    String(own.current),
    String(own.failed),
    String(own.silent),
    String(own.offered),
    String(own.waiting),
    String(own.away),
  ]);
  const heads = ["PHASE", "WHO", "DEVICES", "CURRENT", "FAILED", "SILENT", "OFFERED", "WAITING", "AWAY"];
  const all = [
    "",
    "all",
    ...[sum(tally), tally.current, tally.failed, tally.silent, tally.offered, tally.waiting, tally.away].map(
      String,
    ),
  ];
  return [
    `${style.strong(rollout.id)}: ${rollout.product} ${rollout.version} to ${groupsText(rollout.groups)}: ${paint(rollout.state)}`,
    madeLine(rollout),
    ...rollout.windows.map((window) => `window: ${windowText(window)} UTC`),
    ...(rollout.deadline === null ? [] : [`deadline: ${formatInstant(rollout.deadline)}`]),
    columns([heads, ...rows, all], call.context.width),
    ...haltLines(rollout),
    ...timeLines(look),
    ...failures.map(
      ({ among, failed, devices, code, firstError }) =>
        `${failed} of ${count(devices, "device")} failed on ${among}: ${code ?? "no code"}${firstError === null ? "" : `: ${firstError}`}`,
    ),
    ...(next === null ? [] : [`next: ${next}`]),
    ...(history.length === 0
      ? []
      : [
          columns(
            [
              ["TIME", "ACTOR", "ACTION", "FACTS"],
              ...history.map(({ at, actor, action, facts }) => [
                formatInstant(at),
                actor,
                action,
                JSON.stringify(facts),
              ]),
            ],
            call.context.width,
          ),
        ]),
  ].join("\n");
}

function madeLine({ author, created, approvals, approvedBy }: Rollout): string {
  const approved =
    approvals === 0 && approvedBy.length === 0
      ? ""
      : `; approved by ${approvedBy.length === 0 ? "nobody yet" : approvedBy.map(({ actor }) => actor).join(", ")} (${approvals} needed)`;
  return `made by ${author} at ${formatInstant(created)}${approved}`;
}

function haltLines({ halt, id }: Rollout): readonly string[] {
  if (halt === null) return [];
  const { among, failed, silent, finished, code, firstError } = halt;
  const what = [
    ...(failed > 0 ? [`${failed} failed`] : []),
    ...(silent > 0 ? [`${silent} fell silent`] : []),
  ].join(" and ");
  return [
    `halted by itself: of ${count(finished, "device")} with a result among ${among}, ${what}${code === null ? "" : `; the latest by ${code}`}${firstError === null ? "" : `: ${firstError}`}`,
    `upkeep fleet rollout resume ${id} goes on in spite of that; upkeep fleet rollout abort ${id} ends it.`,
  ];
}

function timeLines({ times }: RolloutLook): readonly string[] {
  const reached = times.filter(({ ms }) => ms !== null);
  if (reached.length === 0) return [];
  return [
    `time from the start: ${reached.map(({ percent, ms }) => `${percent} % after ${secondsText(ms!)}`).join(", ")}`,
  ];
}

export function secondsText(ms: number): string {
  const seconds = Math.round(ms / SECOND);
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 180 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`;
}

function sum(tally: RolloutLook["tally"]): number {
  return Object.values(tally).reduce((all, one) => all + one, 0);
}

function jsonOf(look: RolloutLook, history: readonly AuditRow[]): object {
  const { rollout, tally, phases, failures, times, next, open } = look;
  return {
    ...rolloutJson(rollout),
    devices: tally,
    byPhase: phases.map(({ phase, tally: own }) => ({ phase: phaseText(phase), devices: own })),
    failures,
    times,
    next,
    open: open.map(({ device, since, ...same }) => ({ ...same, device, since: instantOrNull(since) })),
    history: history.map((row) => ({ ...row, at: formatInstant(row.at) })),
  };
}
