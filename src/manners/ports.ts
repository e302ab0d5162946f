// What the decision needs to know of the machine and asks of its owner's executables.

import type { Uptime } from "./known-time.ts";

/** Null where this machine cannot tell. */
export type MachineFacts = {
  /** Load average of the last minute for each processor, in percent. */
  readonly load: number | null;
  /** Seconds since the last input at a terminal. */
  readonly idleSeconds: number | null;
  /** Percent left while it runs on battery; null on mains too. */
  readonly battery: number | null;
};

/** The owner's word on which links are metered: names of interfaces, or what the system says. */
export type MeteredBy = "system" | "always" | "never" | readonly string[];

export type HookAnswer =
  | { readonly kind: "exit"; readonly code: number | null; readonly output: string }
  | { readonly kind: "timeout" }
  | { readonly kind: "not-started"; readonly what: string };

export type Hook = {
  /** Program and arguments, handed over as they are: no shell. */
  readonly command: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
};

export interface Surroundings {
  /** The clock that nobody sets; it goes on while the machine sleeps. */
  uptime(): Promise<Uptime>;
  /** The time zone of the machine, by its IANA name. */
  zone(): string;
  facts(): Promise<MachineFacts>;
  metered(by: MeteredBy): Promise<boolean | null>;
  /** Runs an executable of the owner to its end, or kills it when its time is over. */
  run(hook: Hook): Promise<HookAnswer>;
  /** True while the process lives that a lock names. */
  lives(process: { readonly pid: number; readonly startTime: string }): Promise<boolean>;
}
