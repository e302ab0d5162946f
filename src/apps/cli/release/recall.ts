// What `release recall` and `release affected` do.

import { compareVersions, parseVersion, type Version } from "../../../core/version.ts";
import { recall, type RecallMove } from "../../../repository/publish/recall.ts";
import type { Call, Result } from "../../framework/command.ts";
import { conclude } from "../repo/ceremony.ts";
import { operatorOf } from "../repo/operator.ts";
import { affectedBy, affectedLines, type Affected } from "./affected.ts";

export async function releaseAffected(call: Call): Promise<Result> {
  const [product, version] = [call.argument(0), call.argument(1)];
  const affected = await affectedBy(call, product, version, () => null);
  return {
    text:
      affected === null
        ? "No server keeps its records in this data folder, so no device reports here."
        : affectedLines(version, affected).join("\n"),
    json: { product, version, affected },
  };
}

export async function releaseRecall(call: Call): Promise<Result> {
  const { releases } = operatorOf(call);
  const [product, version] = [call.argument(0), call.argument(1)];
  parseVersion(version);
  const to = call.text("to");
  const done = await recall(releases, {
    product,
    version,
    reason: call.needed("reason"),
    liftFloor: call.flag("lift-floor"),
    ...(to === undefined ? {} : { to }),
  });
  const { moves } = done;
  const described = await conclude(call, done.outcome, `recall ${product} ${version}`);
  const destinations = new Map(moves.map((move) => [move.channel, move.to]));
  const only = new Set(destinations.values()).size === 1 ? moves[0]!.to : (to ?? null);
  const lifted = call.flag("lift-floor");
  const affected = await affectedBy(call, product, version, (channel) =>
    lifted ? null : ((channel === null ? undefined : destinations.get(channel)) ?? only),
  );
  const kept = keptBy(product, version, moves, affected);
  return {
    exit: described.exit,
    text: [
      headline(product, version, moves, done.already),
      ...(done.listed || done.already
        ? []
        : [`the repository does not list ${version}: its number is used up all the same`]),
      moves.length === 0
        ? "channels moved: none pointed to it"
        : `channels moved: ${moves.map((move) => `${move.channel} -> ${move.to}`).join(", ")}`,
      ...affectedLines(version, affected),
      ...kept,
      ...(done.dependents.length > 0 ? [`depend on it: ${done.dependents.join(", ")}`] : []),
      described.text,
    ].join("\n"),
    json: {
      product,
      version,
      to: only,
      channels: moves.map((move) => move.channel),
      moves,
      listed: done.listed,
      already: done.already,
      dependents: done.dependents,
      affected,
      advice: kept,
      ...described.json,
    },
  };
}

function headline(product: string, version: string, moves: readonly RecallMove[], already: boolean): string {
  if (already) return `already: ${product} ${version} was recalled before`;
  if (moves.length === 0)
    return `${product} ${version} is recalled; devices that run it go to where their channel points`;
  const to = [...new Set(moves.map((move) => move.to))];
  return `${product} ${version} is recalled; devices that run it go to ${to.length === 1 ? to[0]! : "where their channel points"}`;
}

/** What to release for devices that their floor keeps from going back. */
function keptBy(
  product: string,
  version: string,
  moves: readonly RecallMove[],
  affected: readonly Affected[] | null,
): readonly string[] {
  const kept = moves.filter((move) => move.floor !== null);
  if (kept.length === 0 && affected?.some((one) => one.cannotGoBack) !== true) return [];
  const lines = kept.map(
    ({ channel, to, floor }) =>
      `devices that committed a release with the floor ${floor!} do not go to ${to} (${channel}): no release that ${channel} pointed to and that is not recalled reaches their floor`,
  );
  const next = nextAbove(parseVersion(version));
  return [
    ...lines,
    next === null
      ? "no higher number is left to lead them forward"
      : `to lead them forward: upkeep release add ${product} ${next} ... --promote, with the content of the good release`,
    `if ${version} was none of yours: upkeep release recall ${product} ${version} --reason "..." --lift-floor lets them go back`,
  ];
}

/** The next patch version, or minor or major where a part is at its end; null when all are. */
function nextAbove({ major, minor, patch, pre }: Version): string | null {
  if (pre.length > 0) return `${major}.${minor}.${patch}`;
  const parts = [major, minor, patch];
  for (let i = 2; i >= 0; i--) {
    if (parts[i]! + 1 > Number.MAX_SAFE_INTEGER - 1) continue;
    const next = [...parts.slice(0, i), parts[i]! + 1, ...[0, 0, 0].slice(i + 1)].join(".");
    return compareVersions(parseVersion(next), parseVersion(parts.join("."))) > 0 ? next : null;
  }
  return null;
}
