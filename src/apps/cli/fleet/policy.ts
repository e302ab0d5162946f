// What `fleet policy` does: shows, changes, replaces or takes away the policy of a group.

import { parse } from "smol-toml";
import { fromUtf8 } from "../../../core/bytes.ts";
import { parseDuration } from "../../../core/duration.ts";
import { SECOND } from "../../../core/instant.ts";
import { parseJsonText, type Json } from "../../../core/json.ts";
import { checkSchema, SchemaError } from "../../../core/schema.ts";
import { needGroup } from "../../../fleet/groups.ts";
import { policyOf, setPolicy, withLine } from "../../../fleet/policies.ts";
import { describeLine } from "../../../manners/describe.ts";
import { MannersError } from "../../../manners/errors.ts";
import { parseHours, type Hours } from "../../../manners/hours.ts";
import {
  KINDS,
  lineSchema,
  parsePolicy,
  type Kind,
  type Line,
  type Policy,
} from "../../../manners/policy.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { actor, readFleet, withFleet } from "../records/open-store.ts";
import { checkName, nameAt } from "./naming.ts";

const LIMIT = 256 * 1024;

export async function fleetPolicy(call: Call): Promise<Result> {
  const group = nameAt(call, 0);
  const [when, file, clear] = [call.text("when"), call.text("file"), call.flag("clear")];
  if ([when !== undefined, file !== undefined, clear].filter(Boolean).length > 1)
    throw usage("Give one of --when, --file and --clear.");
  if (when === undefined) refuseStray(call);
  if (when === undefined && file === undefined && !clear) {
    const policy = await readFleet(call, async (records) => {
      await needGroup(records, group);
      return policyOf(records, group);
    });
    return shown(group, policy, null);
  }
  const given = file === undefined ? null : await readPolicy(call, file);
  const line = when === undefined ? null : lineOf(call);
  const { policy, changed } = await withFleet(call, async (records, now) => {
    const before = line === null ? null : await policyOf(records, group);
    const policy = line === null ? given : withLine(before, line);
    const { changed } = await setPolicy(
      records,
      now,
      { group, policy, create: call.flag("create") },
      actor(),
    );
    return { policy, changed };
  });
  return shown(group, policy, changed);
}

function shown(group: string, policy: Policy | null, changed: boolean | null): Result {
  const lines =
    policy === null || policy.lines.length === 0
      ? [
          `${group} has no policy: its devices activate updates as they come, and their owners may delay them.`,
        ]
      : policy.lines.map((line, at) => `${at + 1}. ${describeLine(line)}`);
  const said =
    changed === null
      ? []
      : [
          changed
            ? `The policy of ${group} is set; its devices are woken.`
            : `The policy of ${group} was this already.`,
        ];
  return {
    text: [...said, ...lines].join("\n"),
    json: { group, policy: policy as unknown as Json, ...(changed === null ? {} : { changed }) },
  };
}

const OF_A_LINE = ["idle", "max-load", "min-battery", "deadline", "block-for", "serves-from"] as const;
const LISTS = ["kind", "product", "window", "active-hours", "warn"] as const;
const FLAGS = ["no-metered-link", "stop-after", "over-interlocks", "block-at-start"] as const;

function refuseStray(call: Call): void {
  const stray = [
    ...OF_A_LINE.filter((name) => call.text(name) !== undefined),
    ...LISTS.filter((name) => call.list(name).length > 0),
    ...FLAGS.filter((name) => call.flag(name)),
  ][0];
  if (stray !== undefined) throw usage(`--${stray} goes with --when.`);
}

/** Errors: `cli/usage`. */
function lineOf(call: Call): Line {
  const kinds = call.list("kind").map((text) => {
    if (!KINDS.includes(text as Kind))
      throw usage(`"${text.slice(0, 40)}" is no kind of update.`, `One of: ${KINDS.join(", ")}.`);
    return text;
  });
  const products = call.list("product").map(checkName);
  const [windows, activeHours] = [hoursOf(call, "window"), hoursOf(call, "active-hours")];
  const idle = secondsOf(call, "idle");
  const load = call.whole("max-load", 1, 100_000);
  const battery = call.whole("min-battery", 0, 101);
  const deadline = deadlineOf(call);
  if (!call.flag("block-at-start") && (call.text("block-for") ?? call.text("serves-from")) !== undefined)
    throw usage("--block-for and --serves-from go with --block-at-start.");
  const blockFor = secondsOf(call, "block-for");
  const servesFrom = call.text("serves-from");
  const line = {
    ...(products.length === 0 ? {} : { products }),
    ...(kinds.length === 0 ? {} : { kinds }),
    when: call.needed("when"),
    ...(windows.length === 0 ? {} : { windows }),
    ...(activeHours.length === 0 ? {} : { activeHours }),
    ...(idle === undefined ? {} : { idleSeconds: idle }),
    ...(load === undefined ? {} : { maxLoad: load }),
    ...(battery === undefined ? {} : { minBattery: battery }),
    ...(call.flag("no-metered-link") ? { metered: false } : {}),
    ...(deadline === undefined ? {} : { deadline }),
    ...(call.flag("block-at-start") ? { atStart: "block" } : {}),
    ...(blockFor === undefined ? {} : { atStartSeconds: blockFor }),
    ...(servesFrom === undefined ? {} : { servesFrom }),
  };
  try {
    return checkSchema(lineSchema, line as unknown as Json, "line of the policy");
  } catch (error) {
    throw error instanceof SchemaError ? usage(error.message) : error;
  }
}

function deadlineOf(call: Call): object | undefined {
  const text = call.text("deadline");
  const warn = call.list("warn").map((one) => secondsIn(one, "warn"));
  const [stop, over] = [call.flag("stop-after"), call.flag("over-interlocks")];
  if (text === undefined) {
    if (warn.length > 0 || stop || over)
      throw usage("--warn, --stop-after and --over-interlocks go with --deadline.");
    return undefined;
  }
  const end = /^\d{4}-/.test(text) ? { by: text } : { within: secondsIn(text, "deadline") };
  return {
    ...end,
    ...(warn.length === 0 ? {} : { warn }),
    ...(stop ? { after: "stop" } : {}),
    ...(over ? { overInterlocks: true } : {}),
  };
}

function hoursOf(call: Call, option: "window" | "active-hours"): Hours[] {
  return call.list(option).map((text) => {
    const hours = parseHours(text);
    if (hours === null)
      throw usage(
        `--${option} "${text.slice(0, 80)}" names no hours of at least 15 minutes.`,
        'For example "mon-fri 22:00-04:00 Europe/Berlin".',
      );
    return hours;
  });
}

function secondsOf(call: Call, option: string): number | undefined {
  const text = call.text(option);
  return text === undefined ? undefined : secondsIn(text, option);
}

function secondsIn(text: string, option: string): number {
  const ms = parseDuration(text);
  if (ms === null)
    throw usage(
      `--${option} "${text.slice(0, 40)}" is no length of time.`,
      "For example 45s, 30m, 12h or 2d.",
    );
  return ms / SECOND;
}

/** Errors: `manners/bad-policy`, `disk/*`. */
async function readPolicy(call: Call, file: string): Promise<Policy> {
  const text = fromUtf8(await call.context.disk.read(file, LIMIT));
  try {
    const value = text.trimStart().startsWith("{")
      ? parseJsonText(text)
      : parseJsonText(JSON.stringify(parse(text)));
    return parsePolicy(value);
  } catch (cause) {
    const what = (cause as Error).message.split("\n")[0]!.slice(0, 600);
    throw new MannersError("manners/bad-policy", `${file} is no policy: ${what}`, { file }, { cause });
  }
}
