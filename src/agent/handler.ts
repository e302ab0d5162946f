// Has a component installed by the program that the owner set for it, step by step; each step may come again after a kill.

import { makeDirectories, statOrNull } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import {
  findProcess,
  forgetProcess,
  noteIntent,
  TOKEN_VARIABLE,
  type ProcessRoom,
} from "../process/component-process.ts";
import { ProcessError } from "../process/errors.ts";
import {
  readAnswer,
  writeRequest,
  type HandlerRequest,
  type HandlerStep,
  type HandlerVersion,
} from "../process/handler-protocol.ts";
import type { HandlerKind } from "../release/component-kind.ts";
import type { Attempt } from "../slot/attempt.ts";
import type { SlotId } from "../slot/layout.ts";
import type { Component } from "./component.ts";
import { codeOf, sentenceOf } from "./errors.ts";
import { passedOn, type RunSpec } from "./run-spec.ts";
import type { HandlerSettings } from "./settings.ts";
import { isDamage } from "./slot-guard.ts";

/** The handler's part of a version; null for one that is installed by its slot alone. */
export function handlerOf(run: RunSpec): HandlerKind | null {
  return run.component?.kind === "handler" ? run.component : null;
}

/**
 * One step of the attempt, if its version is installed by a handler. Errors: `process/handler-failed` (the release's fault),
 * `process/handler-waits`, `process/no-handler`, `process/cannot-start`, `slot/damaged`, `disk/*`, the signal's reason.
 */
export async function stepOfHandler(
  component: Component,
  { begin }: Attempt,
  step: HandlerStep,
  signal: AbortSignal,
): Promise<void> {
  const kind = await kindOfAttempt(component, begin);
  if (kind === null) return;
  signal.throwIfAborted();
  const [from, to] = [await versionOf(component, begin.from), await versionOf(component, begin.to)];
  await runStep(component, kind, { step, attempt: begin.attempt, from, to });
}

/** That of the new version; where its slot was damaged since, the way back is that of the version before. */
async function kindOfAttempt(
  component: Component,
  { from, to }: Attempt["begin"],
): Promise<HandlerKind | null> {
  try {
    return handlerOf(await component.runOf(to));
  } catch (error) {
    if (!isDamage(error) || from === null) throw error;
    return handlerOf(await component.runOf(from));
  }
}

/** `install` and `verify`, and `prepare` before them where no staging came before. Errors: as `stepOfHandler`. */
export async function installByHandler(
  component: Component,
  attempt: Attempt,
  signal: AbortSignal,
): Promise<void> {
  const { manual, damage } = attempt.begin;
  if (manual || damage === "fall-back") await stepOfHandler(component, attempt, "prepare", signal);
  await stepOfHandler(component, attempt, "install", signal);
  await stepOfHandler(component, attempt, "verify", signal);
}

/** After the end of an attempt, whatever that was. Nothing depends on it. */
export async function cleanUpByHandler(component: Component, attempt: Attempt): Promise<void> {
  try {
    await stepOfHandler(component, attempt, "cleanup", new AbortController().signal);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    const [code, message] = [codeOf(error), sentenceOf(error)];
    component.world.log({
      level: "warn",
      event: "handler-not-cleaned",
      product: component.product,
      code,
      message,
    });
  }
}

/** At an uninstall. Errors: as `stepOfHandler`. */
export async function removeByHandler(component: Component, installed: SlotId, id: string): Promise<void> {
  const kind = handlerOf(await component.runOf(installed));
  if (kind === null) return;
  const from = await versionOf(component, installed);
  await runStep(component, kind, { step: "remove", attempt: id, from, to: null });
}

type Asked = Pick<HandlerRequest, "step" | "attempt" | "from" | "to">;

async function runStep(component: Component, kind: HandlerKind, asked: Asked): Promise<void> {
  const { world, product, layout } = component;
  const found = settingsOf(component, kind);
  const room = roomOf(component);
  const timeoutMs = found.timeoutSeconds * 1000;
  await endOrphan(component, room, timeoutMs);
  const program = await programOf(component, kind.handler, found);
  const env = { ...passedOn(world.environment), ...found.env };
  const cwd = layout.handlerState;
  await makeDirectories(world.disk, cwd, 0o700);
  const unfit = await world.processes.look({ program, cwd, env });
  if (unfit !== null)
    throw new ProcessError("process/cannot-start", `The handler ${kind.handler}: ${unfit.reason}`, {
      program,
    });
  const request = { ...asked, product, settings: kind.settings ?? {}, state: cwd };
  const { token } = await noteIntent(room, "handler", asked.step);
  const spec = {
    program,
    args: found.args,
    cwd,
    env: { ...env, [TOKEN_VARIABLE]: token },
    log: layout.log,
    token,
  };
  const { attempt, step } = asked;
  world.log({ level: "info", event: "handler", product, handler: kind.handler, step, attempt });
  const answer = await world.handlers.run(spec, writeRequest(request), timeoutMs);
  await forgetProcess(room);
  readAnswer(kind.handler, step, answer);
}

/** Which program may be used is the owner's to say, never the release's. Errors: `process/no-handler`. */
function settingsOf({ settings, product }: Component, { handler }: HandlerKind): HandlerSettings {
  const found = Object.hasOwn(settings.handlers, handler) ? settings.handlers[handler] : undefined;
  const allowed = found !== undefined && (found.products === null || found.products.includes(product));
  if (allowed) return found;
  throw new ProcessError(
    "process/no-handler",
    found === undefined
      ? `${product} is installed by a handler "${handler}", and agent.toml sets none of that name.`
      : `The handler "${handler}" of agent.toml is not for ${product}.`,
    { product, handler },
    { hint: `Set handlers.${handler}.program in agent.toml, and products if it names any.` },
  );
}

/** A program of this machine, or of a component whose slot is whole. Errors: `process/no-handler`, `disk/*`. */
async function programOf(component: Component, name: string, found: HandlerSettings): Promise<string> {
  const refuse = (why: string): ProcessError =>
    new ProcessError("process/no-handler", `The handler "${name}" of agent.toml cannot be used: ${why}.`, {
      handler: name,
    });
  if (found.component === null) {
    const stat = await statOrNull(component.world.disk, found.program);
    if (stat === null) throw refuse(`${found.program} is missing`);
    // Who could write it would choose what runs with the agent's rights.
    if (stat.kind === "file" && (stat.mode & 0o022) !== 0)
      throw refuse(`others may write ${found.program} (mode ${stat.mode.toString(8)})`);
    return found.program;
  }
  const other = component.neighbor(found.component);
  const id = (await other?.currentId()) ?? null;
  if (other === undefined || id === null)
    throw refuse(`${found.component}, which holds it, is not installed`);
  try {
    await other.guard.beforeStart(id);
  } catch (error) {
    // The next check repairs it.
    if (isDamage(error)) throw refuse(`${found.component}, which holds it, is damaged`);
    throw error;
  }
  return `${other.place(id).slot}/${found.program}`;
}

async function versionOf(component: Component, id: SlotId | null): Promise<HandlerVersion | null> {
  if (id === null) return null;
  const { slot } = component.place(id);
  const kind = await component
    .runOf(id)
    .then(handlerOf)
    .catch((error: unknown) => {
      if (error instanceof UpkeepError) return null;
      throw error;
    });
  return kind === null ? null : { version: id.version, slot, file: `${slot}/${kind.file}` };
}

function roomOf({ world, layout }: Component): ProcessRoom {
  return {
    disk: world.disk,
    random: world.random,
    host: world.processes,
    path: layout.handler,
    beside: `${layout.handler}.beside`,
  };
}

/** What an agent that was killed had started goes on: it is given its time, and there are never two of it. */
async function endOrphan({ world, product }: Component, room: ProcessRoom, timeoutMs: number): Promise<void> {
  const found = await findProcess(room);
  if (found === null) return;
  world.log({ level: "warn", event: "handler-found", product, step: found.launch });
  const timer = new AbortController();
  const late = world.clock.sleep(timeoutMs, timer.signal).catch(() => undefined);
  await Promise.race([found.process.exited, late]);
  timer.abort(new Error("no longer needed"));
  await found.process.stop(0);
  await forgetProcess(room);
}
