// What the verbs about manners do: ask the running agent, or change the device's folder when none runs.

import type { OwnerWord, ShownPolicy, Tested } from "../../agent/owner.ts";
import type { Prompt } from "../../agent/prompter.ts";
import type { Pending } from "../../agent/manners-memory.ts";
import { parseDuration } from "../../core/duration.ts";
import { formatInstant, parseInstant, SECOND } from "../../core/instant.ts";
import type { Json } from "../../core/json.ts";
import { checkSchema, nameSchema, z } from "../../core/schema.ts";
import { KINDS } from "../../manners/policy-words.ts";
import type { Call, Result } from "../framework/command.ts";
import { usage } from "../framework/errors.ts";
import { columns } from "../framework/style.ts";
import { askOrDo, quietLogOf } from "./run-commands.ts";
import { mannersRequests, type MannersRequest } from "./manners-requests.ts";

/** The request is checked before anything is asked, so that a slip has one answer whether an agent runs or not. */
async function say<T>(call: Call, request: MannersRequest): Promise<T> {
  checkSchema(
    z.discriminatedUnion("do", mannersRequests),
    request as unknown as Json,
    "request to the agent",
  );
  const { context } = call;
  const answer = await askOrDo(call, request as unknown as Json, async () => {
    const { mannersOnce } = await import("./serve.ts");
    const options = { folder: context.data, log: quietLogOf(call), environment: context.terminal.env };
    return mannersOnce(options, request);
  });
  return answer as T;
}

function scopeAt(call: Call): string {
  const name = call.argumentOr(0);
  return name === undefined ? "*" : checkProduct(name);
}

function checkProduct(name: string): string {
  if (!z.safeParse(nameSchema, name).success)
    throw usage(`"${name.slice(0, 80)}" is not the name of a product.`);
  return name;
}

function whom(scope: string): string {
  return scope === "*" ? "every product" : scope;
}

function msOf(call: Call, option: string): number | undefined {
  const text = call.text(option);
  if (text === undefined) return undefined;
  const ms = parseDuration(text);
  if (ms === null || ms === 0)
    throw usage(
      `--${option} "${text.slice(0, 40)}" is no length of time.`,
      "For example 45s, 30m, 12h or 2d.",
    );
  return ms;
}

export async function agentHold(call: Call): Promise<Result> {
  const scope = scopeAt(call);
  const [until, lasts] = [call.text("until"), msOf(call, "for")];
  if (until !== undefined && lasts !== undefined) throw usage("Give --until or --for, not both.");
  const now = call.context.clock.now();
  const end = until === undefined ? (lasts === undefined ? null : now + lasts) : parseInstant(until);
  if (end !== null && end <= now) throw usage(`--until ${formatInstant(end)} is over already.`);
  const word = await say<OwnerWord>(call, {
    do: "hold",
    scope,
    until: end === null ? null : formatInstant(end),
  });
  const when = end === null ? "until `upkeep agent release` ends it" : `until ${formatInstant(end)}`;
  return {
    text: `Updates of ${whom(scope)} are held on this device ${when}. Only the deadline of a signed policy ends it before.`,
    json: word,
  };
}

export async function agentRelease(call: Call): Promise<Result> {
  const scope = scopeAt(call);
  const word = await say<OwnerWord & { released: boolean }>(call, { do: "release", scope });
  const left = word.holds.some((one) => one.scope === "*") && scope !== "*";
  return {
    text: word.released
      ? `Updates of ${whom(scope)} are no longer held.`
      : `Updates of ${whom(scope)} were not held.${left ? " All products are: `upkeep agent release` ends that." : ""}`,
    json: word,
  };
}

export async function agentOptOut(call: Call): Promise<Result> {
  const scope = scopeAt(call);
  const word = await say<OwnerWord>(call, { do: "opt-out", scope });
  return {
    text: `Nothing of ${whom(scope)} is updated by itself any more, but what the deadline of a signed policy asks for. \`upkeep agent opt-in\` ends it.`,
    json: word,
  };
}

export async function agentOptIn(call: Call): Promise<Result> {
  const scope = scopeAt(call);
  const word = await say<OwnerWord>(call, { do: "opt-in", scope });
  return { text: `Updates of ${whom(scope)} come by themselves again.`, json: word };
}

export async function agentPrompts(call: Call): Promise<Result> {
  const language = call.text("lang");
  const found = await say<readonly Prompt[]>(call, {
    do: "prompts",
    ...(language === undefined ? {} : { language }),
  });
  const lines = found.map(({ id, text, answer, answerUntil, choices }) => {
    const end = answerUntil === null ? "" : ` until ${answerUntil}`;
    const said = answer === null ? "" : ` Answered: ${answer}${end}.`;
    return `${id}: ${text}${said} (${choices.accept}: accept; ${choices.later}: later; ${choices.skip}: skip)`;
  });
  return {
    text: lines.length === 0 ? "No update asks for an answer." : lines.join("\n"),
    json: { prompts: found },
  };
}

export async function agentAnswer(call: Call): Promise<Result> {
  const [id, choice] = [call.argument(0), call.argument(1)];
  if (choice !== "accept" && choice !== "later" && choice !== "skip")
    throw usage(`"${choice.slice(0, 40)}" is no answer.`, "One of accept, later and skip.");
  const lasts = msOf(call, "for");
  if (lasts !== undefined && choice !== "later") throw usage("--for goes with later.");
  const seconds = lasts === undefined ? {} : { seconds: Math.ceil(lasts / SECOND) };
  const pending = await say<Pending>(call, { do: "answer", id, choice, ...seconds });
  const { product, version, answer } = pending;
  const text = {
    accept: `${product} ${version} is installed as soon as nothing is in its way.`,
    later: `${product} ${version} asks again at ${answer?.until ?? "a later time"}.`,
    skip: `${product} ${version} is skipped; a newer release asks again.`,
  }[choice];
  return { text, json: { product, version, answer } };
}

export async function agentPolicy(call: Call): Promise<Result> {
  const what = call.argumentOr(0) ?? "show";
  const product = call.text("product");
  if (product !== undefined) checkProduct(product);
  if (what === "show")
    return shown(await say<ShownPolicy>(call, { do: "policy" }), product, call.context.width);
  if (what !== "test") throw usage(`"${what.slice(0, 40)}" is neither show nor test.`);
  const kind = KINDS.find((one) => one === call.text("kind"));
  if (kind === undefined && call.text("kind") !== undefined)
    throw usage(
      `"${call.needed("kind").slice(0, 40)}" is no kind of update.`,
      `One of: ${KINDS.join(", ")}.`,
    );
  const at = formatInstant(parseInstant(call.text("at") ?? formatInstant(call.context.clock.now())));
  const found = await say<readonly Tested[]>(call, {
    do: "policy-test",
    at,
    ...(product === undefined ? {} : { product }),
    ...(kind === undefined ? {} : { kind }),
  });
  const lines = found.map((one) => {
    const end = one.until === null ? "" : ` Until ${one.until}.`;
    const due = one.deadline === null ? "" : ` Its deadline is ${one.deadline}.`;
    return one.do === "now"
      ? `${one.product} (${one.kind}) at ${one.at}: activated (${one.rule}).${due}`
      : `${one.product} (${one.kind}) at ${one.at}: waits (${one.rule}). ${one.reason}${end}${due} \`${one.command}\` changes it.`;
  });
  return {
    text: lines.length === 0 ? "Nothing is installed here." : lines.join("\n"),
    json: { at, verdicts: found },
  };
}

function shown(policy: ShownPolicy, only: string | undefined, width: number | null): Result {
  const products = policy.products.filter(({ product }) => only === undefined || only === product);
  const rows = products.flatMap(({ product, kinds }) =>
    kinds.flatMap(({ kind, rows: own }) =>
      own.map(({ name, value, from }) => [product, kind, name, value, from]),
    ),
  );
  const lines = [
    `Time: ${policy.time.now}, ${policy.time.signed ? "from the server's signed answer" : "from this machine's clock; nothing signed was read since it started"}. Zone: ${policy.zone}.`,
    ...policy.holds.map(
      ({ scope, until }) => `Held: ${whom(scope)}${until === null ? "" : ` until ${until}`}.`,
    ),
    ...policy.optedOut.map((scope) => `Opted out: ${whom(scope)}.`),
    rows.length === 0
      ? "Nothing is installed here."
      : columns([["PRODUCT", "KIND", "RULE", "VALUE", "FROM"], ...rows], width),
  ];
  return { text: lines.join("\n"), json: { ...policy, products } };
}

export async function agentLock(call: Call): Promise<Result> {
  const [product, holder] = [checkProduct(call.argument(0)), call.argument(1)];
  const [lasts, why] = [msOf(call, "for"), call.text("why")];
  const seconds = lasts === undefined ? {} : { seconds: Math.ceil(lasts / SECOND) };
  const json = await say<Json>(call, {
    do: "lock",
    product,
    holder,
    ...seconds,
    ...(why === undefined ? {} : { why }),
  });
  return { text: `No update of ${product} is activated while ${holder} holds its lock.`, json };
}

export async function agentUnlock(call: Call): Promise<Result> {
  const [product, holder] = [checkProduct(call.argument(0)), call.argument(1)];
  const { released } = await say<{ released: boolean }>(call, { do: "unlock", product, holder });
  return {
    text: released ? `The lock of ${holder} is over.` : `${holder} held no lock on ${product}.`,
    json: { product, holder, released },
  };
}
