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
  /**
   * The same for one that an earlier agent asked already, or was about to: a second SIGTERM ends many programs at once, so it comes only
   * after half of the time.
   */
  await(graceMs: number): Promise<void>;
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
  /** Inherited as descriptors 3, 4, … in this order, by the convention of sd_listen_fds(3). */
  readonly sockets?: readonly InheritedSocket[];
  /** Absent: as the agent itself. */
  readonly as?: RunAs;
  /** Where the program says that it serves; absent if nobody waits for that. */
  readonly ready?: ReadyPlace;
};

/** Whose rights a program has, and what it may use up. */
export type RunAs = {
  /** A name or number of this machine; `own` for a number that is nobody else's. */
  readonly user: string;
  /** The folder that it may write, and nobody else but root may read. */
  readonly data: string;
  readonly memoryBytes?: number;
  readonly processes?: number;
};

/** `descriptor` is a number of the agent's own process. */
export type InheritedSocket = { readonly name: string; readonly descriptor: number };

/** A file that the program may write `READY=1` to, and a socket for what speaks sd_notify(3). */
export type ReadyPlace = { readonly file: string; readonly socket: string };

/**
 * Why a program cannot be started. `process/wrong-program`: no machine like this one ever could, so the release is at fault.
 * `process/cannot-start`: this machine cannot at the moment (an interpreter that is missing, a volume mounted noexec, no permission).
 */
export type Unfit = {
  readonly code: "process/wrong-program" | "process/cannot-start";
  readonly reason: string;
  readonly hint?: string;
};

export type ProgramToLookAt = Pick<SpawnSpec, "program" | "cwd" | "env">;

export interface ProcessHost {
  /**
   * Sends a signal by which programs read something again. `not-caught`: the program has no handler for it and would end, so nothing was sent.
   * `gone`: it does not run any more.
   */
  remind(
    identity: ProcessIdentity,
    signal: "SIGHUP" | "SIGUSR1" | "SIGUSR2",
  ): Promise<"sent" | "not-caught" | "gone">;
  /** Which start of the machine this is: 32 hex digits. */
  boot(): Promise<string>;
  /** Reads what the kernel would read of the program, and what that asks for; null if it can be started. Nothing is run. */
  look(program: ProgramToLookAt): Promise<Unfit | null>;
  /**
   * In a process group of its own. What the kernel itself would not start is refused, never handed to a shell.
   * Errors: `process/wrong-program`, `process/cannot-start`.
   */
  spawn(spec: SpawnSpec): Promise<RunningProcess>;
  /** False where the next agent could not tell this one's processes from strangers: then they end with their agent. */
  findsAgain(): Promise<boolean>;
  /**
   * The process with this identity if it still runs; with a null `pid`, the oldest process that carries the token. Null in another boot.
   * Where processes are not found again, what may be left of it is ended.
   */
  find(
    identity: Omit<ProcessIdentity, "pid" | "startTime"> & Partial<ProcessIdentity>,
  ): Promise<RunningProcess | null>;
}

export type HttpAnswer =
  | { readonly kind: "status"; readonly status: number }
  | { readonly kind: "refused" | "timeout" | "broken"; readonly what: string }
  /** Somebody answered, and it was none of the component's processes. */
  | { readonly kind: "stranger"; readonly what: string };

export type CommandAnswer =
  | { readonly kind: "exit"; readonly exit: Exit; readonly output: string }
  | { readonly kind: "timeout"; readonly output: string }
  /** The agent itself could not start it, for want of memory, handles or permission. */
  | { readonly kind: "not-started"; readonly what: string };

export interface Probes {
  /**
   * GET on the loopback address; redirects are not followed, the body is not read beyond a few bytes. An answer counts only if it
   * is that of `by` or of a process that belongs to it, where the system can tell who listens; null: nothing of the component runs.
   */
  http(port: number, path: string, timeoutMs: number, by: ProcessIdentity | null): Promise<HttpAnswer>;
  /**
   * The same while two versions accept from one socket: asks again and again until one of `by` took the connection, as the kernel's tables
   * say, and is a `timeout` if none did.
   */
  httpOf(port: number, path: string, timeoutMs: number, by: ProcessIdentity): Promise<HttpAnswer>;
  /** Runs to its end in a group of its own; kept output is bounded. */
  command(spec: Omit<SpawnSpec, "log" | "token">, timeoutMs: number): Promise<CommandAnswer>;
}

export type HandlerAnswer =
  | { readonly kind: "exit"; readonly exit: Exit; readonly output: Uint8Array; readonly errors: string }
  | { readonly kind: "timeout"; readonly errors: string }
  /** The agent itself could not start it, for want of memory, handles or permission. */
  | { readonly kind: "not-started"; readonly what: string };

/** Programs that carry out one step and end. */
export interface HandlerHost {
  /**
   * Runs the program to its end in a group of its own, with `input` as its standard input. Its errors are appended to `log`; output and
   * the kept end of its errors are bounded. What it started and left behind is ended.
   */
  run(spec: SpawnSpec, input: Uint8Array, timeoutMs: number): Promise<HandlerAnswer>;
}

export interface LocalPorts {
  /** Null if nobody listens on it at the loopback address; else who does, in words, as far as that can be seen. */
  takenBy(port: number): Promise<string | null>;
  /** True if a program could listen on it now, at any address. */
  isFree(port: number): Promise<boolean>;
}
