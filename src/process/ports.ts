// What supervision needs from outside: processes that can be found again, and probes.

/** How a process ended. One of the two is null. */
export type Exit = { readonly code: number | null; readonly signal: string | null };

/**
 * Names one process for good: a pid alone is reused, a pid with its start time within one boot is not.
 * `token` stands in the environment of the process and of whatever it started.
 */
export type ProcessIdentity = {
  readonly pid: number;
  readonly startTime: string;
  readonly boot: string;
  readonly token: string;
};

export interface RunningProcess {
  readonly identity: ProcessIdentity;
  /** Resolves when the process is gone. For an adopted process the code is unknown: both fields are null. */
  readonly exited: Promise<Exit>;
  /** Asks the whole group to end, waits up to `graceMs`, then kills it and everything that carries the token. Resolves when nothing of it is left. */
  stop(graceMs: number): Promise<void>;
}

export type SpawnSpec = {
  /** Absolute path. */
  readonly program: string;
  readonly args: readonly string[];
  readonly cwd: string;
  /** The whole environment; nothing of the agent's own is added. */
  readonly env: Readonly<Record<string, string>>;
  /** Output and errors are appended here; the process writes by itself, so it outlives the agent. */
  readonly log: string;
  readonly token: string;
};

export interface ProcessHost {
  /** Which start of the machine this is: 32 hex digits. */
  boot(): Promise<string>;
  /** In a process group of its own. Errors: `process/cannot-start`. */
  spawn(spec: SpawnSpec): Promise<RunningProcess>;
  /** The process with this identity if it still runs; with a null `pid`, the oldest process that carries the token. */
  find(
    identity: Omit<ProcessIdentity, "pid" | "startTime"> & Partial<ProcessIdentity>,
  ): Promise<RunningProcess | null>;
}

export type HttpAnswer =
  | { readonly kind: "status"; readonly status: number }
  | { readonly kind: "refused" | "timeout" | "broken"; readonly what: string };

export type CommandAnswer =
  | { readonly kind: "exit"; readonly exit: Exit; readonly output: string }
  | { readonly kind: "timeout"; readonly output: string }
  /** The agent itself could not start it, for want of memory, handles or permission. */
  | { readonly kind: "not-started"; readonly what: string };

export interface Probes {
  /** GET on the loopback address; redirects are not followed, the body is not read beyond a few bytes. */
  http(port: number, path: string, timeoutMs: number): Promise<HttpAnswer>;
  /** Runs to its end in a group of its own; kept output is bounded. */
  command(spec: Omit<SpawnSpec, "log" | "token">, timeoutMs: number): Promise<CommandAnswer>;
}
