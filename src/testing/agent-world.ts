// A whole agent in memory: disk, processes, clock, fleet; it can be killed, lose power, and be started again.

import { openAgent, type Agent } from "../agent/agent.ts";
import type { LogLine, ServerTrust, World } from "../agent/ports.ts";
import type { Settings } from "../agent/settings.ts";
import type { Clock } from "../core/clock.ts";
import type { Random } from "../core/random.ts";
import { KNOWN_FEATURES } from "../core/features.ts";
import type { Program } from "../core/growth.ts";
import { sha256 } from "../core/digest.ts";
import { toUtf8 } from "../core/bytes.ts";
import type { UpkeepError } from "../core/errors.ts";
import type { Instant } from "../core/instant.ts";
import { zipReader } from "../io/archive/unpack-zip.ts";
import type { Hook, HookAnswer, MachineFacts } from "../manners/ports.ts";
import { DAY_ZERO, FleetOfOne } from "./fleet-of-one.ts";
import { MemoryHandlers } from "./memory-handlers.ts";
import { MemoryDisk } from "./memory-disk.ts";
import { diskTrees } from "./memory-trees.ts";
import { MemoryProcesses } from "./memory-processes.ts";

/** Time passes as fast as it is slept: for worlds in which one thing happens after the other. */
export class EagerClock implements Clock {
  #now: Instant = DAY_ZERO;
  #monotonic = 0;

  now(): Instant {
    return this.#now;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) throw signal.reason as Error;
    await Promise.resolve();
    this.#now += ms;
    this.#monotonic += ms;
  }

  setWall(now: Instant): void {
    this.#now = now;
  }
}

/** The same draws at every run. */
export function scriptedRandom(seed = 1): Random {
  let count = 0;
  return {
    bytes: (length) => {
      const out = new Uint8Array(length);
      for (let at = 0; at < length; at += 32) {
        out.set(sha256(toUtf8(`${seed} ${count++}`)).subarray(0, length - at), at);
      }
      return out;
    },
  };
}

export const FOLDER = "/agent";

export class AgentWorld {
  disk: MemoryDisk;
  processes: MemoryProcesses;
  readonly handlers = new MemoryHandlers();
  readonly clock: Clock;
  readonly fleet: FleetOfOne;
  readonly lines: LogLine[] = [];
  settings: Settings = { startSpread: 0 };
  verifyPublisher: World["verifyPublisher"] = null;
  selfCheck: World["selfCheck"] = null;
  atPoint: World["atPoint"] = async () => {};
  /** An older or newer agent has other features. */
  program: Program = { version: "0.1.0", features: [...KNOWN_FEATURES] };
  /** A path in the data of every component that cannot be copied. */
  refusedData: string | null = null;
  /** Knows every list of authorities already; a test of trust puts another in. */
  trust: ServerTrust = { bundleSha256: null, take: async () => {} };
  /** Why the device is not updated, when something is the matter with its own folder. */
  grounded: UpkeepError | null = null;
  /** Its identity cannot be read: nothing can be signed. */
  unsigned = false;
  /** What the machine says of itself. */
  machine: MachineFacts = { load: null, idleSeconds: null, battery: null };
  metered: boolean | null = null;
  zone = "UTC";
  /** What the owner's executables answer, by their path, and what they were asked. */
  readonly hooks = new Map<string, (hook: Hook) => HookAnswer>();
  readonly asked: Hook[] = [];
  /** Processes that a lock may name. */
  readonly living = new Set<number>();
  /** Worlds that follow each other on one disk draw other numbers. */
  seed = 0;
  #starts = 0;

  constructor(clock: Clock = new EagerClock(), disk = new MemoryDisk()) {
    this.clock = clock;
    this.disk = disk;
    this.processes = new MemoryProcesses(disk);
    this.fleet = new FleetOfOne(clock, () => this.disk);
  }

  /** A new agent process over what lies on the disk. */
  open(): Promise<Agent> {
    this.#starts++;
    const { disk, processes, clock } = this;
    const world: World = {
      program: this.program,
      disk,
      background: disk,
      clock,
      random: scriptedRandom(this.seed + this.#starts),
      processes,
      probes: processes,
      handlers: this.handlers,
      localPorts: processes,
      surroundings: {
        uptime: async () => ({ boot: await processes.boot(), ms: clock.monotonic() }),
        zone: () => this.zone,
        facts: async () => this.machine,
        metered: async () => this.metered,
        run: async (hook) => {
          this.asked.push(hook);
          return this.hooks.get(hook.command[0]!)?.(hook) ?? { kind: "not-started", what: "There is none." };
        },
        lives: async ({ pid }) => this.living.has(pid),
      },
      sockets: processes,
      logs: {
        rotate: async () => {},
        bound: async () => {},
        head: async () => "last words",
        tail: async () => "last words",
        size: async () => 0,
      },
      zip: zipReader,
      trees: diskTrees(disk, () => this.refusedData),
      platform: { os: "linux", arch: "x64", libc: "glibc", osVersion: "6.1", hardware: null },
      verifyPublisher: this.verifyPublisher,
      selfCheck: this.selfCheck,
      environment: { PATH: "/bin" },
      log: (line) => this.lines.push(line),
      atPoint: (name) => this.atPoint(name),
    };
    const { identity } = this.fleet;
    return openAgent({
      world,
      folder: FOLDER,
      identity,
      repository: this.fleet,
      server: this.fleet,
      trust: this.trust,
      settings: this.settings,
      pid: 1,
      ...(this.grounded === null ? {} : { grounded: this.grounded, unsigned: this.unsigned }),
    });
  }

  /** Puts another disk in, with the processes of a machine that was merely robbed of its agent, or of one that was switched off. */
  restart(disk: MemoryDisk, how: "killed" | "power-cut"): void {
    this.disk = disk;
    if (how === "killed") this.processes.moveTo(disk);
    else this.processes = new MemoryProcesses(disk, "c".repeat(32));
  }

  /** What runs, by the version in its slot's name. */
  get running(): readonly string[] {
    return this.processes.running.map(
      (program) => /\/slots\/([^/]+)-[0-9a-f]{32}(?:-r\d+)?\//.exec(program)?.[1] ?? program,
    );
  }
}
