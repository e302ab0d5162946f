// What the verbs of `agent` do.

import { tellProgress } from "./told-progress.ts";
import { programLog } from "../framework/program-log.ts";
import { noLog, type Log } from "../../io/system/log.ts";
import { ReportedError } from "../../core/errors.ts";
import { hostname } from "node:os";
import { resolve } from "node:path";
import type { CheckResult } from "../../agent/check-result.ts";
import type { SlotFinding } from "../../agent/care.ts";
import { scomoTree } from "../../agent/scomo.ts";
import { withoutAgent, type Status } from "../../agent/status.ts";
import type { ComponentResult } from "../../agent/update-component.ts";
import { collect, fromUtf8 } from "../../core/bytes.ts";
import { readOrNull } from "../../core/disk.ts";
import { traitOf } from "./known-codes.ts";
import { formatInstant } from "../../core/instant.ts";
import { parseJson, type Json } from "../../core/json.ts";
import { nameSchema, z } from "../../core/schema.ts";
import { askAgent, ControlError } from "../../io/system/control-socket.ts";
import { datesOf, loadIdentity } from "../../io/device/device-identity.ts";
import { diskStore } from "../../repository/client/store.ts";
import { forgetTime } from "../framework/forget-time.ts";
import { thisPlatform } from "../../io/system/platform.ts";
import type { Call, Result } from "../framework/command.ts";
import { placeIn } from "../../agent/settings.ts";
import { placeName } from "../../io/connection/failure.ts";
import { proxiesOf } from "./proxies.ts";
import { CliError, usage } from "../framework/errors.ts";
import { EXIT } from "../framework/exit-codes.ts";
import { columns } from "../framework/style.ts";
import { fetchedLine } from "./fetched-line.ts";

export async function agentEnroll(call: Call): Promise<Result> {
  const { context } = call;
  const { enrol } = await import("./enroll.ts");
  const { loadSettings } = await import("./local-settings.ts");
  const servers = call.list("server").map(serverOf);
  if (servers.length === 0) throw usage("Which server? Give --server host:port.");
  const token = await tokenOf(call);
  const { device, server } = await enrol({
    disk: context.disk,
    folder: context.data,
    servers,
    token,
    name: call.text("name") ?? hostname(),
    platform: thisPlatform(),
    now: () => context.clock.now(),
    signal: context.signal,
    proxies: proxiesOf(await loadSettings(context.disk, context.data), context.terminal.env),
  });
  return {
    text: `This device is ${device}. \`upkeep agent run\` keeps it up to date.`,
    json: { device, server: placeName(server), data: context.data },
  };
}

export async function agentRun(call: Call): Promise<Result> {
  const { context } = call;
  const { serveAgent } = await import("./serve.ts");
  const { signal } = context;
  await serveAgent({ folder: context.data, log: logOf(call), environment: context.terminal.env }, signal);
  return { json: { stopped: true } };
}

export async function agentUpdate(call: Call): Promise<Result> {
  return resultOfCheck(await (call.text("from") === undefined ? checkNow(call) : installNow(call)));
}

export function resultOfCheck(result: CheckResult): Result {
  return {
    text: checkText(result),
    json: { ...result, code: codeOfCheck(result) },
    exit: exitOfCheck(result),
  };
}

async function checkNow(call: Call): Promise<CheckResult> {
  const { context } = call;
  if (call.list("product").length > 0 || call.text("channel") !== undefined)
    throw usage("--product and --channel go with --from; online, the server's assignment says what to run.");
  const [retry, now] = [call.flag("retry-skipped"), call.flag("now")];
  if (retry && now) throw usage("Give --retry-skipped or --now, not both.");
  const request = { do: "check", ...(retry ? { retrySkipped: true } : {}), ...(now ? { now: true } : {}) };
  return (await askOrDo(call, request, async () => {
    const { checkOnce } = await import("./serve.ts");
    const options = { folder: context.data, log: quietLogOf(call), environment: context.terminal.env };
    return checkOnce(options, context.signal, retry, now);
  })) as unknown as CheckResult;
}

async function installNow(call: Call): Promise<CheckResult> {
  const { context } = call;
  if (call.flag("retry-skipped"))
    throw usage("--retry-skipped goes with a check of the server, not with --from.");
  const given = call.needed("from");
  const from = isAddress(given) ? given : resolve(given);
  const products = call.list("product");
  const wish = {
    products: products.length === 0 ? null : products,
    channel: call.text("channel") ?? "stable",
  };
  for (const name of [...products, wish.channel])
    if (!z.safeParse(nameSchema, name).success)
      throw usage(`"${name}" is not a name of a product or channel.`);
  const result = (await askOrDo(call, { do: "install", from, ...wish }, async () => {
    const { installOnce } = await import("./serve.ts");
    const options = { folder: context.data, log: quietLogOf(call), environment: context.terminal.env };
    return installOnce(options, from, wish, context.signal);
  })) as unknown as CheckResult;
  if (result.failure === null && result.components.length === 0)
    throw usage(`${from} holds nothing for what is installed here; --product names what else to install.`);
  return result;
}

export async function agentCheck(call: Call): Promise<Result> {
  const { context } = call;
  const findings = (await askOrDo(call, { do: "verify" }, async () => {
    const { verifyOnce } = await import("./serve.ts");
    return verifyOnce({ folder: context.data, log: quietLogOf(call), environment: context.terminal.env });
  })) as unknown as readonly SlotFinding[];
  const lines = findings.map(({ product, version, current, whole, what, files, bytes, added }) => {
    const more =
      added.length === 0
        ? ""
        : ` ${added.length} ${added.length === 1 ? "entry belongs" : "entries belong"} to no release (${added
            .slice(0, 5)
            .map((entry) => JSON.stringify(entry))
            .join(", ")}); the next start puts that aside.`;
    const which = current ? "" : " (kept to go back to)";
    return whole
      ? `${product} ${version}${which}: whole, ${files} entries, ${bytes} bytes read.${more}`
      : `${product} ${version}${which}: damaged. ${what}`;
  });
  const whole = findings.every((finding) => finding.whole);
  return {
    text: lines.length === 0 ? "Nothing is installed here." : lines.join("\n"),
    json: { whole, code: whole ? null : "slot/damaged", slots: findings as unknown as Json },
    exit: whole ? EXIT.ok : EXIT["verify-failed"],
  };
}

export async function agentRollback(call: Call): Promise<Result> {
  const { context } = call;
  const product = call.argument(0);
  const result = (await askOrDo(call, { do: "roll-back", product }, async () => {
    const { rollBackOnce } = await import("./serve.ts");
    const options = { folder: context.data, log: quietLogOf(call), environment: context.terminal.env };
    return rollBackOnce(options, product, context.signal);
  })) as unknown as ComponentResult;
  return {
    text: `${product}: ${result.from ?? "nothing"} → ${result.running ?? "nothing"}. ${result.reason}`,
    json: result,
    exit: result.result === "updated" ? EXIT.ok : EXIT.failed,
  };
}

export async function agentStatus(call: Call): Promise<Result> {
  const { context } = call;
  const scomo = call.flag("scomo");
  try {
    const status = (await askAgent(context.data, { do: "status" }, context.signal)) as unknown as Status;
    if (scomo) return scomoResultOf(status.components);
    return await withTime(call, statusText(status, true, call.context.width), { ...status, live: true });
  } catch (error) {
    if (!(error instanceof ControlError && error.code === "control/no-agent")) throw error;
  }
  const bytes = await readOrNull(context.disk, `${context.data}/status.json`, 1024 * 1024);
  if (bytes !== null) {
    const left = leftStatus(bytes, `${context.data}/status.json`);
    if (scomo) return scomoResultOf(left.components);
    return withTime(call, statusText(left, false, call.context.width), { ...left, live: false });
  }
  // Throws `agent/not-enrolled`: then nothing can happen here at all.
  const { record } = await loadIdentity(context.disk, `${context.data}/identity`);
  if (scomo) return scomoResultOf([]);
  const why = "It is enrolled, and no agent has run yet: nothing happens until one does.";
  return {
    text: `This is device ${record.device}. ${why}\nhint: ${START_HINT}`,
    json: { device: record.device, doing: "stopped", why, until: null, components: [], live: false },
  };
}

function scomoResultOf(components: Status["components"]): Result {
  const tree = scomoTree(components);
  const rows = [
    ...tree.download.map(({ pkgId, status }) => ["Download", pkgId, `status ${status}`, ""]),
    ...tree.delivered.map(({ pkgId, status, state }) => [
      "Delivered",
      pkgId,
      `status ${status}, state ${state}`,
      "",
    ]),
    ...tree.deployed.map(({ pkgIdRef, status, state, resultCode, code }) => [
      "Deployed",
      pkgIdRef,
      `status ${status}, state ${state}`,
      `result ${resultCode}${code === null ? "" : ` (${code})`}`,
    ]),
  ];
  return {
    text: rows.length === 0 ? "Nothing is installed here." : columns(rows),
    json: tree as unknown as Json,
  };
}

/** What this device remembers of time, and until when its certificate is good: read from its folder, whether an agent runs or not. */
async function withTime(call: Call, text: string, json: object): Promise<Result> {
  const { disk, data, clock } = call.context;
  const now = clock.now();
  const known = await diskStore(disk, `${data}/tuf`).loadKnownTime();
  const lines = [text];
  if (known !== null) {
    const behind =
      known.time > now
        ? ` This clock says ${formatInstant(now)}, which is earlier: either it is behind, or it was ahead then (upkeep agent forget-time).`
        : "";
    lines.push(
      `Remembered time: ${formatInstant(known.time)}, under timestamp ${known.versions.timestamp}.${behind}`,
    );
  }
  const certificate = await loadIdentity(disk, `${data}/identity`)
    .then(({ client }) => datesOf(client.certificates))
    .catch(() => null);
  if (certificate !== null) {
    const early = certificate.notBefore > now ? `good from ${formatInstant(certificate.notBefore)} on, ` : "";
    lines.push(`Certificate: ${early}ends ${formatInstant(certificate.notAfter)}.`);
  }
  return {
    text: lines.join("\n"),
    json: {
      ...json,
      time: {
        clock: formatInstant(now),
        remembered: known === null ? null : formatInstant(known.time),
        underTimestamp: known?.versions.timestamp ?? null,
      },
      certificate:
        certificate === null
          ? null
          : {
              notBefore: formatInstant(certificate.notBefore),
              notAfter: formatInstant(certificate.notAfter),
            },
    },
  };
}

export async function agentForgetTime(call: Call): Promise<Result> {
  const { disk, data, clock } = call.context;
  // Throws `agent/not-enrolled`: a folder that is no device's is not made one by this.
  await loadIdentity(disk, `${data}/identity`);
  const { storeLock } = await import("../../io/system/store-lock.ts");
  const store = diskStore(disk, `${data}/tuf`, storeLock(`${data}/tuf/lock`, clock));
  return forgetTime(store, clock, "This device");
}

const START_HINT = "`upkeep agent run` starts it, `upkeep agent update` checks once.";

/** Nothing is decided by this file, and a new agent writes it anew: if it cannot be read, that is said, and no more. */
function leftStatus(bytes: Uint8Array, path: string): Status {
  try {
    return withoutAgent(parseJson(bytes) as unknown as Status);
  } catch (cause) {
    throw new CliError(
      "cli/not-found",
      `No agent runs, and what the last one wrote to ${path} cannot be read.`,
      { path },
      { cause, hint: START_HINT },
    );
  }
}

/** The running agent does it; without one, the same is done here. What takes long is told step by step. */
export function askOrDo(call: Call, request: Json, otherwise: () => Promise<unknown>): Promise<unknown> {
  return tellProgress(call.context, askAgentOrDo(call, request, otherwise));
}

async function askAgentOrDo(call: Call, request: Json, otherwise: () => Promise<unknown>): Promise<unknown> {
  try {
    return await askAgent(call.context.data, request, call.context.signal);
  } catch (error) {
    if (!(error instanceof ControlError)) throw error;
    if (error.code === "control/no-agent") return otherwise();
    // What the agent says no with is what is said here: the same call has the same code, whether an agent runs or not.
    const { code, ...facts } = error.facts;
    if (error.code !== "control/refused" || typeof code !== "string") throw error;
    const hint = error.hint === undefined ? {} : { hint: error.hint };
    throw new ReportedError(traitOf(code), code, error.message, facts, hint);
  }
}

/** A web server instead of a stick. */
function isAddress(text: string): boolean {
  return /^https?:\/\//i.test(text);
}

function serverOf(text: string): { host: string; port: number } {
  const place = placeIn(text);
  if (place === null) throw usage("--server takes host:port, for example updates.example.org:8443.");
  return place;
}

async function tokenOf(call: Call): Promise<string> {
  const { context } = call;
  const file = call.text("token-file");
  const request = { what: "Enrollment token", env: "UPKEEP_TOKEN", file, option: "--token-file" };
  const found = await context.secretOrNull(request);
  if (found !== null) return found;
  const { stdin } = context.terminal;
  if (stdin.isTTY !== true) {
    const line = fromUtf8(await collect(stdin as AsyncIterable<Uint8Array>, 4096)).split(/\r?\n/, 1)[0] ?? "";
    if (line !== "") return line;
  }
  return context.secret(request);
}

function logOf(call: Call): Log {
  return programLog(call).log;
}

/** Without an agent the result tells it all; the lines are for who asks for them. */
export function quietLogOf(call: Call): Log {
  return call.context.verbose ? logOf(call) : noLog;
}

/** The code that stands for a whole check: its failure, else that of the first component in trouble. */
function codeOfCheck(result: CheckResult): string | null {
  return result.failure?.code ?? troubled(result)?.code ?? null;
}

function troubled(result: CheckResult): ComponentResult | undefined {
  return result.components.find(({ result }) => !["current", "updated", "repaired", "held"].includes(result));
}

function exitOfCheck(result: CheckResult): number {
  if (result.failure !== null) return EXIT[traitOf(result.failure.code).exit];
  const worst = troubled(result);
  if (worst === undefined) return EXIT.ok;
  if (worst.result === "refused") return EXIT.refused;
  return worst.result === "waiting" ? EXIT[traitOf(worst.code ?? "").exit] : EXIT.failed;
}

function checkText(result: CheckResult): string {
  const lines = result.components.map((component) => {
    const until = component.until === null ? "" : ` Until ${formatInstant(component.until)}.`;
    const code = component.code === null ? "" : ` (${component.code})`;
    return `${component.product}: ${component.result}${code}: ${component.reason}${until}`;
  });
  if (result.failure !== null) {
    lines.push(`The check failed (${result.failure.code}): ${result.failure.message}`);
    if (result.failure.hint !== null) lines.push(`hint: ${result.failure.hint}`);
  }
  return lines.length === 0 ? "Nothing is assigned to this device." : lines.join("\n");
}

function statusText(status: Status, live: boolean, width: number | null): string {
  const lines = [
    live
      ? `The agent of device ${status.device} is ${status.doing}.`
      : `The agent of device ${status.device} is ${status.doing}. It left this at ${status.written}:`,
  ];
  if (status.why !== null) lines.push(live ? status.why : `${status.why} ${START_HINT}`);
  if (status.lastCheck !== null) {
    const { at, result, code, message } = status.lastCheck;
    lines.push(
      result === "ok"
        ? `Last check: ${at}, went through.`
        : `Last check: ${at}, failed (${code}): ${message}`,
    );
  }
  for (const { message } of status.notices) lines.push(`Notice: ${message}`);
  lines.push(`Wake-ups: ${status.wakeUps}. Reports waiting: ${status.reportsWaiting}.`);
  if (status.components.length > 0) {
    const rows = status.components.map((component) => [
      component.product,
      component.running ?? "-",
      component.committed ?? "-",
      component.attempt === null ? "-" : `${component.attempt.to} ${component.attempt.state}`,
      component.floor ?? "-",
    ]);
    lines.push("", columns([["PRODUCT", "RUNNING", "COMMITTED", "ATTEMPT", "FLOOR"], ...rows], width));
    for (const component of status.components) {
      const until = component.until === null ? "" : ` Until ${component.until}.`;
      lines.push(`${component.product}: ${component.why}${until}`);
      // An older agent may have left a status without it.
      if (typeof component.damage === "string") lines.push(`${component.product}: ${component.damage}`);
      const fetched = fetchedLine(component.fetched ?? null);
      if (fetched !== null) lines.push(`${component.product}: ${fetched}`);
    }
  }
  return lines.join("\n");
}
