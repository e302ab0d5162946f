// Processes in memory: programs are files whose text says how they behave; they outlive their agent, as real ones do.

import { fromUtf8, toUtf8 } from "../core/bytes.ts";
import { DiskError, type Disk } from "../core/disk.ts";
import type { HeldSockets } from "../agent/ports.ts";
import { ProcessError } from "../process/errors.ts";
import type {
  CommandAnswer,
  Exit,
  LocalPorts,
  HttpAnswer,
  ProcessHost,
  ProcessIdentity,
  Probes,
  ProgramToLookAt,
  RunningProcess,
  SpawnSpec,
  Unfit,
} from "../process/ports.ts";
import type { SocketPlace } from "../release/sockets.ts";

/**
 * Words in a program's text: `well` answers 200, `sick` answers 500, `busy` answers 429, `crash` ends with 1 at once, `job` ends with 0,
 * `reloads` catches signals for reading again. `deaf` refuses connections, `foreign` is for another machine. `migrate` writes its version into the data folder first.
 */
export type Behaviour = string;

type Entry = {
  readonly identity: ProcessIdentity;
  readonly spec: SpawnSpec;
  readonly text: string;
  readonly exited: Promise<Exit>;
  readonly end: (exit: Exit) => void;
  ended: boolean;
};

export class MemoryProcesses implements ProcessHost, Probes, LocalPorts, HeldSockets {
  readonly #boot: string;
  #disk: Disk;
  #entries: Entry[] = [];
  #next = 100;
  /** Every program that was ever started here, in order. */
  readonly started: string[] = [];
  /** What was really executed: the texts of those programs, and of probes. */
  readonly texts: string[] = [];
  /** The world around the programs: `sick` makes every one of them answer 500. */
  mood: "sick" | null = null;
  /** Why nothing can be started on this machine at the moment. */
  unfit: Unfit | null = null;
  /** Ports on which programs listen that belong to no component, and their names. */
  readonly strangers = new Map<number, string>();

  constructor(disk: Disk, boot = "b".repeat(32)) {
    this.#disk = disk;
    this.#boot = boot;
  }

  /** The disk changes hands when an agent is killed and the next one gets a copy. */
  moveTo(disk: Disk): void {
    this.#disk = disk;
  }

  /** What runs now, as program paths. */
  get running(): readonly string[] {
    return this.#entries.filter((entry) => !entry.ended).map((entry) => entry.spec.program);
  }

  /** Programs that were told to read something again, and by which signal. */
  readonly reminded: string[] = [];
  /** What a program does when it is told; by itself it reads again and stays as it is. */
  whenReminded: (program: string) => void = () => {};

  async remind(identity: ProcessIdentity, signal: string): Promise<"sent" | "not-caught" | "gone"> {
    const entry = this.#entries.find((one) => one.identity.pid === identity.pid);
    if (entry === undefined || entry.ended) return "gone";
    if (!entry.text.includes("reloads")) return "not-caught";
    this.reminded.push(`${signal} ${entry.spec.program}`);
    this.whenReminded(entry.spec.program);
    return "sent";
  }

  async boot(): Promise<string> {
    return this.#boot;
  }

  async findsAgain(): Promise<boolean> {
    return true;
  }

  async look({ program }: ProgramToLookAt): Promise<Unfit | null> {
    if (this.unfit !== null) return this.unfit;
    const text = fromUtf8(await this.#disk.read(program, 1_000_000));
    if (!text.includes("foreign")) return null;
    return {
      code: "process/wrong-program",
      reason: `${program} cannot be started: it is for another machine.`,
    };
  }

  async spawn(spec: SpawnSpec): Promise<RunningProcess> {
    const unfit = await this.look(spec);
    if (unfit !== null) throw new ProcessError(unfit.code, unfit.reason, {});
    const text = fromUtf8(await this.#disk.read(spec.program, 1_000_000));
    this.started.push(spec.program);
    this.texts.push(text);
    if (text.includes("migrate")) await this.#migrate(spec);
    if (spec.ready !== undefined) await this.#say(spec.ready.file, text.includes("ready") ? "READY=1\n" : "");
    const identity = { pid: this.#next, startTime: String(this.#next), boot: this.#boot, token: spec.token };
    this.#next++;
    const { promise: exited, resolve: end } = Promise.withResolvers<Exit>();
    const entry: Entry = { identity, spec, text, exited, end, ended: false };
    this.#entries.push(entry);
    if (text.includes("crash")) this.#end(entry, { code: 1, signal: null });
    if (text.includes("job")) this.#end(entry, { code: 0, signal: null });
    return this.#handle(entry);
  }

  async find(
    wanted: Omit<ProcessIdentity, "pid" | "startTime"> & Partial<ProcessIdentity>,
  ): Promise<RunningProcess | null> {
    const entry = this.#entries.find(({ identity, ended }) => !ended && identity.token === wanted.token);
    return entry === undefined || wanted.boot !== this.#boot ? null : this.#handle(entry);
  }

  async http(port: number, _: string, __: number, by: ProcessIdentity | null): Promise<HttpAnswer> {
    const stranger = this.strangers.get(port);
    if (stranger !== undefined) return { kind: "stranger", what: `on port ${port} is that of ${stranger}` };
    if (by === null) return { kind: "refused", what: "refused the connection" };
    const entry = this.#entries.find(({ ended, spec }) => !ended && spec.env["PORT"] === String(port));
    if (entry === undefined || entry.text.includes("deaf"))
      return { kind: "refused", what: "refused the connection" };
    if (entry.text.includes("sick") || this.mood === "sick") return { kind: "status", status: 500 };
    return { kind: "status", status: entry.text.includes("busy") ? 429 : 200 };
  }

  async httpOf(port: number, path: string, timeoutMs: number, by: ProcessIdentity): Promise<HttpAnswer> {
    const entry = this.#entries.find(({ identity }) => identity.token === by.token);
    if (entry === undefined || entry.ended) return this.http(port, path, timeoutMs, null);
    if (entry.text.includes("sick")) return { kind: "status", status: 500 };
    return this.http(port, path, timeoutMs, by);
  }

  /** Sockets that are held, by component and address, with the program that each was taken from. */
  readonly held = new Map<string, string | null>();

  async hold(owner: string, place: SocketPlace, from: ProcessIdentity | null): Promise<number> {
    const key = `${owner} ${JSON.stringify(place)}`;
    const program = this.#entries.find(({ identity }) => identity.token === from?.token)?.spec.program;
    if (!this.held.has(key)) this.held.set(key, program ?? null);
    return 100 + [...this.held.keys()].indexOf(key);
  }

  async keepOnly(owner: string, places: readonly SocketPlace[]): Promise<void> {
    const kept = new Set(places.map((place) => `${owner} ${JSON.stringify(place)}`));
    for (const key of this.held.keys())
      if (key.startsWith(`${owner} `) && !kept.has(key)) this.held.delete(key);
  }

  async command(spec: Omit<SpawnSpec, "log" | "token">): Promise<CommandAnswer> {
    const text = fromUtf8(await this.#disk.read(spec.program, 1_000_000));
    this.texts.push(text);
    return { kind: "exit", exit: { code: text.includes("sick") ? 1 : 0, signal: null }, output: "" };
  }

  /** Ends a running program from outside. */
  kill(program: string): void {
    for (const entry of this.#entries)
      if (!entry.ended && entry.spec.program === program) this.#end(entry, { code: null, signal: "SIGKILL" });
  }

  async takenBy(port: number): Promise<string | null> {
    return this.strangers.get(port) ?? null;
  }

  async isFree(port: number): Promise<boolean> {
    const own = this.#entries.some(({ ended, spec }) => !ended && spec.env["PORT"] === String(port));
    return !own && !this.strangers.has(port);
  }

  #handle(entry: Entry): RunningProcess {
    const stop = async (): Promise<void> => {
      // An agent that lost power stops nobody.
      await this.#disk.stat("/");
      this.#end(entry, { code: null, signal: "SIGTERM" });
    };
    return { identity: entry.identity, exited: entry.exited, stop, await: stop };
  }

  #end(entry: Entry, exit: Exit): void {
    if (entry.ended) return;
    entry.ended = true;
    entry.end(exit);
  }

  async #say(file: string, word: string): Promise<void> {
    const out = await this.#disk.open(file, "write");
    await out.write(0, toUtf8(word));
    await out.close();
  }

  async #migrate(spec: SpawnSpec): Promise<void> {
    try {
      await this.#writeVersion(spec);
    } catch (error) {
      // A program that cannot write its data is the program's business.
      if (!(error instanceof DiskError)) throw error;
    }
  }

  async #writeVersion(spec: SpawnSpec): Promise<void> {
    const file = await this.#disk.open(`${spec.env["UPKEEP_COMPONENT_DATA"]!}/db`, "write");
    await file.truncate(0);
    await file.write(0, toUtf8(spec.env["UPKEEP_VERSION"]!));
    await file.sync();
    await file.close();
  }
}
