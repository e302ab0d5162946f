// Handlers in memory: what they were asked is written down, what they answer is a function of it, and what they installed outlives the agent.

import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { parseJsonText } from "../core/json.ts";
import type { HandlerRequest } from "../process/handler-protocol.ts";
import type { HandlerAnswer, HandlerHost } from "../process/ports.ts";

export class MemoryHandlers implements HandlerHost {
  /** Every request, in order. */
  readonly asked: HandlerRequest[] = [];
  readonly programs: string[] = [];
  /** What the machine has by the handler, as a package manager would say. */
  installed: string | null = null;
  committed: string | null = null;
  /** An exit code for a request; 0 if none is named. */
  exit: (request: HandlerRequest) => number = () => 0;
  /** Called after a step was carried out and before it is answered: here the agent may be killed. */
  carriedOut: (request: HandlerRequest) => void = () => {};

  get steps(): readonly string[] {
    return this.asked.map(({ step, to, from }) => `${step} ${(to ?? from)?.version ?? "-"}`);
  }

  async run(spec: { readonly program: string }, input: Uint8Array): Promise<HandlerAnswer> {
    const request = parseJsonText(fromUtf8(input)) as unknown as HandlerRequest;
    this.asked.push(request);
    this.programs.push(spec.program);
    const code = this.exit(request);
    if (code === 0) this.#carryOut(request);
    this.carriedOut(request);
    const output = toUtf8(
      JSON.stringify({ format: 1, ...(code === 0 ? {} : { reason: "it was scripted so" }) }),
    );
    return { kind: "exit", exit: { code, signal: null }, output, errors: "" };
  }

  #carryOut({ step, from, to }: HandlerRequest): void {
    if (step === "install") this.installed = to?.version ?? null;
    if (step === "commit") this.committed = to?.version ?? null;
    if (step === "rollback")
      [this.installed, this.committed] = [from?.version ?? null, from?.version ?? null];
    if (step === "remove") [this.installed, this.committed] = [null, null];
  }
}
