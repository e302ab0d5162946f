// How a verb of `agent` asks the running agent, and what it does when none runs.

import { ReportedError } from "../../core/errors.ts";
import type { Json } from "../../core/json.ts";
import { askAgent, ControlError } from "../../io/system/control-socket.ts";
import { noLog, type Log } from "../../io/system/log.ts";
import type { Call } from "../framework/command.ts";
import { programLog } from "../framework/program-log.ts";
import { traitOf } from "./known-codes.ts";
import { tellProgress } from "./told-progress.ts";

/** The running agent does it; without one, the same is done here. What takes long is told step by step. */
export function ask(call: Call, request: Json, otherwise: () => Promise<unknown>): Promise<unknown> {
  return tellProgress(call.context, askOrDo(call, request, otherwise));
}

async function askOrDo(call: Call, request: Json, otherwise: () => Promise<unknown>): Promise<unknown> {
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

export function logOf(call: Call): Log {
  return programLog(call).log;
}

/** Without an agent the result tells it all; the lines are for who asks for them. */
export function quietLogOf(call: Call): Log {
  return call.context.verbose ? logOf(call) : noLog;
}
