// Tells the running readers of data that `current` was switched, and sees whether they took it well.

import { ProcessError } from "../process/errors.ts";
import { describeExit } from "../process/health.ts";
import type { Reload } from "../release/component-kind.ts";
import type { SlotId } from "../slot/layout.ts";
import { UpkeepError } from "../core/errors.ts";
import { isAlive } from "./company.ts";
import type { Component } from "./component.ts";
import { codeOf, sentenceOf } from "./errors.ts";
import { isService, type RunSpec } from "./run-spec.ts";
import { probe } from "./watch.ts";

const PROBE_EVERY = 1000;

/** After a switch forward. Errors: `process/reload-failed` (the release's fault), `process/cannot-start`, `disk/*`, the signal's reason. */
export async function tellReaders(
  component: Component,
  id: SlotId,
  run: RunSpec,
  signal: AbortSignal,
): Promise<void> {
  const reload = run.component?.kind === "data" ? run.component.reload : undefined;
  switch (reload?.kind) {
    case "signal":
      return signalReader(component, reload, signal);
    case "command":
      return runReload(component, id, run, reload);
    default:
      return;
  }
}

/**
 * After a switch back: readers read what was there before. Nothing stops the way back; what fails is logged. `left` is the version that was
 * left: where the one before it says nothing of readers, those of the other are told.
 */
export async function tellReadersAgain(
  component: Component,
  id: SlotId | null,
  left: SlotId,
  signal: AbortSignal,
): Promise<void> {
  try {
    const run = id === null ? null : await component.runOf(id);
    if (id !== null && run?.component?.kind === "data" && run.component.reload !== undefined)
      return await tellReaders(component, id, run, signal);
    const other = await component.runOf(left);
    const reload = other.component?.kind === "data" ? other.component.reload : undefined;
    if (reload?.kind === "signal") await signalReader(component, reload, signal);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    const [code, message] = [codeOf(error), sentenceOf(error)];
    component.world.log({
      level: "error",
      event: "readers-not-told",
      product: component.product,
      code,
      message,
    });
  }
}

async function signalReader(
  component: Component,
  reload: Extract<Reload, { kind: "signal" }>,
  signal: AbortSignal,
): Promise<void> {
  const { world } = component;
  const reader = component.neighbor(reload.product);
  const found = reader?.supervised ?? null;
  // Who does not run reads it when it starts.
  if (reader === undefined || found === null || !(await isAlive(found))) return;
  const id = await reader.currentId();
  if (id === null) return;
  const run = await reader.runOf(id);
  const wellBefore = isService(run) && (await probe(reader, id, run)).kind === "well";
  switch (await world.processes.remind(found.process.identity, reload.signal)) {
    case "gone":
      return;
    case "not-caught":
      throw failed(
        component,
        `${reload.product} does not catch ${reload.signal} and would end by it, so it was not sent`,
      );
    case "sent":
      world.log({
        level: "info",
        event: "reader-told",
        product: component.product,
        reader: reload.product,
        signal: reload.signal,
      });
  }
  const end = world.clock.monotonic() + reload.settleSeconds * 1000;
  for (;;) {
    const left = end - world.clock.monotonic();
    // Ended, and perhaps started again by its keeper: either way it did not take it well.
    if (!(await isAlive(found))) {
      const how = describeExit(await found.process.exited);
      throw failed(component, `${reload.product} received the signal for the new data and ${how}`);
    }
    if (wellBefore) {
      const seen = await probe(reader, id, run);
      if (seen.kind === "sick")
        throw failed(
          component,
          `${reload.product} received the signal for the new data and is not well: ${seen.reason}`,
        );
    }
    if (left <= 0) return;
    await world.clock.sleep(Math.min(PROBE_EVERY, left), signal);
  }
}

async function runReload(
  component: Component,
  id: SlotId,
  run: RunSpec,
  { command, timeoutSeconds }: Extract<Reload, { kind: "command" }>,
): Promise<void> {
  const [program, ...args] = command;
  const { slot } = component.place(id);
  const env = await component.environmentOf(id, run);
  const spec = { program: `${slot}/${program!}`, args, cwd: slot, env };
  const answer = await component.world.probes.command(spec, timeoutSeconds * 1000);
  switch (answer.kind) {
    case "not-started":
      throw new ProcessError("process/cannot-start", `${program!} cannot be started: ${answer.what}.`, {
        program: program!,
      });
    case "timeout":
      throw failed(component, `${program!} did not end within ${timeoutSeconds} s${said(answer.output)}`);
    case "exit":
      if (answer.exit.code === 0) return;
      throw failed(component, `${program!} ${describeExit(answer.exit)}${said(answer.output)}`);
  }
}

function said(output: string): string {
  const words = output.trim().slice(-300);
  return words === "" ? "" : `; it said: ${words}`;
}

function failed({ product }: Component, what: string): ProcessError {
  return new ProcessError("process/reload-failed", `The readers of ${product} could not take it: ${what}.`, {
    product,
  });
}
