// One component on this device: its folder, its journal, its process. The lowest layer that knows what a release is.

import { parentOf } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { formatInstant, type Instant } from "../core/instant.ts";
import {
  besideSlots,
  findProcess,
  forgetProcess,
  recordedSlot,
  recordProcess,
  startProcess,
  type ProcessRoom,
  type Supervised,
} from "../process/component-process.ts";
import { ProcessError } from "../process/errors.ts";
import { describeExit } from "../process/health.ts";
import { afterEnd, type RestartState } from "../process/restart.ts";
import { hasReplaced, lastAttempt, type Attempt } from "../slot/attempt.ts";
import { collectGarbage, readCurrent, slotIsWhole } from "../slot/install.ts";
import type { JournalEvent } from "../slot/journal-event.ts";
import { type Journal } from "../slot/journal.ts";
import { linkTarget, sameSlot, slotName, slotPath, type Layout, type SlotId } from "../slot/layout.ts";
import { readRecordAt } from "../slot/record.ts";
import { recover, rightfulSlot, type LinkPlace, type Recovery } from "../slot/recover.ts";
import type { Uninstalled } from "../slot/uninstalled.ts";
import { namedSlots, recordOf, saveState, withoutSkips, type ComponentState } from "../slot/state.ts";
import type { World } from "./ports.ts";
import { Company, isAlive } from "./company.ts";
import { ComponentSockets } from "./component-sockets.ts";
import { givePort, readGiven, type GivenPorts, type PortRoom } from "./given-port.ts";
import { Readiness } from "./readiness.ts";
import { askedPort, environmentOf, isService, launchOf, type Place, type RunSpec } from "./run-spec.ts";
import type { ComponentSettings } from "./settings.ts";
import { isDamage, SlotGuard } from "./slot-guard.ts";

/** Starts of a new version without a healthy end in between, over restarts of the agent. */
export const MAX_STARTS = 5;
const LOG_LIMIT = 4 * 1024 * 1024;

export class Component {
  readonly world: World;
  readonly product: string;
  readonly layout: Layout;
  settings: ComponentSettings;
  readonly journal: Journal;
  readonly guard: SlotGuard;
  #state: ComponentState;
  /** What runs now, as far as this agent knows. */
  supervised: Supervised | null = null;
  /** True while an attempt starts, watches and stops the process: then nobody else does. */
  owned = false;
  /** When the probation under way is over at the latest, by the wall clock; null if there is none. */
  probationEnds: Instant | null = null;
  #restart: RestartState & { readonly dueAt: number | null } = { failures: 0, startedAt: 0, dueAt: null };
  /** One change of the process at a time. */
  #turn: Promise<unknown> = Promise.resolve();
  /** When the open attempt began, if it began in this process: attempt id and monotonic milliseconds. */
  begun: { readonly attempt: string; readonly at: number } | null = null;
  /** Why what is committed does not run now although it could; null while it may. An update that is activated is no concern of this. */
  withheld: { readonly why: "at-start" | "overdue"; readonly reason: string } | null = null;
  /** Set when what the component remembers was lost: it keeps running, but nothing is installed. */
  blocked: UpkeepError | null = null;
  /** The owner's decision that nothing of it is installed here; null if there is none. */
  uninstalled: Uninstalled | null = null;
  /** Set when the journal had to be put aside; to be told once. */
  damage: UpkeepError | null = null;
  /** The port that each slot was given, once it was looked up. */
  readonly #given = new Map<string, GivenPorts>();
  /** Where in the log the output of what serves begins; before it stands that of the version that it was started beside. */
  logFrom = 0;
  readonly company: Company;
  readonly readiness: Readiness;
  readonly #sockets: ComponentSockets;
  /** What is not as it should be outside of the component's folder; null if nothing is known to be. */
  outside: { readonly code: string; readonly reason: string } | null = null;
  /** Learns of each event after it was written down. */
  noted: (event: JournalEvent) => Promise<void> = async () => {};
  /** Another component of this device. */
  neighbor: (product: string) => Component | undefined = () => undefined;
  /** The slot whose public copy was read back in this process. */
  copyVerified: string | null = null;

  constructor(
    world: World,
    product: string,
    layout: Layout,
    settings: ComponentSettings,
    journal: Journal,
    state: ComponentState,
  ) {
    this.world = world;
    this.product = product;
    this.layout = layout;
    this.settings = settings;
    this.journal = journal;
    this.#state = state;
    this.guard = new SlotGuard(this);
    this.company = new Company(this);
    this.#sockets = new ComponentSockets(this);
    this.readiness = new Readiness(world.disk, layout.ready);
  }

  get state(): ComponentState {
    return this.#state;
  }

  get attempt(): Attempt | null {
    return lastAttempt(this.journal.events);
  }

  /** The attempt that has not ended, if there is one. */
  get openAttempt(): Attempt | null {
    const attempt = this.attempt;
    return attempt?.end === null ? attempt : null;
  }

  get processRoom(): ProcessRoom {
    const { disk, random, processes } = this.world;
    return { disk, random, host: processes, path: this.layout.process, beside: this.layout.beside };
  }

  async note(event: JournalEvent): Promise<void> {
    await this.journal.append(event);
    await this.noted(event);
  }

  /** Takes what runs for what was committed last; written only if the state itself was merely missing. */
  async adoptCommitted(id: SlotId): Promise<void> {
    const state = { ...this.#state, committed: id };
    if (this.blocked === null) await this.remember(state);
    else this.#state = state;
  }

  async remember(state: ComponentState): Promise<void> {
    if (state !== this.#state) this.#state = await saveState(this.world.disk, this.layout, state);
  }

  /** What failed here may be tried once more. Nothing of a component whose memory was lost. */
  async forgetSkips(): Promise<void> {
    const skipped = this.#state.skip.map(({ version, code }) => `${version} (${code})`);
    if (skipped.length === 0 || this.blocked !== null) return;
    this.world.log({ level: "warn", event: "skip-list-forgotten", product: this.product, skipped });
    await this.remember(withoutSkips(this.#state));
  }

  /** Nothing is installed any more. Floor and skip list stay: uninstalling is no way around them. */
  async forgetInstalled(): Promise<void> {
    await this.remember({ ...this.#state, committed: null, good: [], records: [], applied: null });
  }

  /** What recovery has to do, from the facts of this moment. */
  async diagnose(): Promise<Recovery> {
    const attempt = this.attempt;
    // Reading a whole slot is dear; only an attempt that is being activated wants to know.
    const activating = attempt !== null && attempt.activating && attempt.end === null;
    const toSlot = activating && (await this.isWhole(attempt.begin.to));
    return recover({ attempt, link: await this.#linkPlace(attempt), toSlot, maxStarts: MAX_STARTS });
  }

  async #linkPlace(attempt: Attempt | null): Promise<LinkPlace> {
    const link = await readCurrent(this.world.disk, this.layout);
    const is = (id: SlotId | null): boolean => link === (id === null ? null : linkTarget(id));
    if (attempt === null) return is(this.#state.committed) ? "from" : "other";
    if (is(attempt.begin.to)) return "to";
    return is(attempt.begin.from) ? "from" : "other";
  }

  /** The slot that must run while no attempt is being activated. */
  get rightful(): SlotId | null {
    return rightfulSlot(this.attempt, this.#state.committed);
  }

  /** The slot that `current` names, by what is remembered; of one that nobody remembers, by its own record. Null if it names none. */
  async currentId(): Promise<SlotId | null> {
    const link = await readCurrent(this.world.disk, this.layout);
    if (link === null || !/^slots\/[^/]+$/.test(link)) return null;
    return this.knownSlot(link.slice("slots/".length)) ?? this.#strayId(link);
  }

  /** The slot of this name, by what is remembered. */
  knownSlot(name: string): SlotId | null {
    const begin = this.attempt?.begin;
    const known = [begin?.to ?? null, begin?.from ?? null, ...namedSlots(this.#state)];
    return known.find((id) => id !== null && slotName(id) === name) ?? null;
  }

  async #strayId(link: string): Promise<SlotId | null> {
    try {
      const { id } = await readRecordAt(this.world.disk, `${this.layout.folder}/${link}`);
      return linkTarget(id) === link ? id : null;
    } catch (error) {
      if (error instanceof UpkeepError) return null;
      throw error;
    }
  }

  /** SHA-256 of the slot's record as it was made, null if that is not known. */
  digestOf(id: SlotId): string | null {
    const { attempt } = this;
    return attempt !== null && attempt.record !== null && sameSlot(attempt.begin.to, id)
      ? attempt.record
      : recordOf(this.#state, id);
  }

  /** True if every byte of the slot is as it was recorded. Errors: `disk/*`. */
  isWhole(id: SlotId): Promise<boolean> {
    return slotIsWhole(this.world.disk, this.layout, id, this.digestOf(id));
  }

  /** Errors: `slot/damaged`, `disk/*`. */
  runOf(id: SlotId): Promise<RunSpec> {
    return this.guard.runOf(id);
  }

  place(id: SlotId): Place {
    const { data, folder, locks, log } = this.layout;
    const components = parentOf(folder);
    return { product: this.product, slot: slotPath(this.layout, id), data, components, locks, log };
  }

  /** Takes over the slot's process if it runs already, as what serves or beside it, and was started as it would be now. */
  async adopt(id: SlotId, run: RunSpec): Promise<boolean> {
    if (run.entryPoint === undefined) return false;
    const { digest } = this.#launch(id, run, run.entryPoint);
    await this.noticeRunning();
    for (const found of [this.supervised, ...(await this.company.staying())]) {
      if (found === null || found.slot !== slotName(id) || found.launch !== digest) continue;
      if (!(await isAlive(found))) continue;
      if (found !== this.supervised) await this.#promote(found);
      await this.#sockets.regain(run, found);
      return true;
    }
    return false;
  }

  /** What ran beside serves from now on; what served stays beside it. Each is in one of the two records at every instant. */
  async #promote(found: Supervised): Promise<void> {
    const before = this.supervised;
    if (before !== null && (await isAlive(before))) await this.company.join(before);
    await recordProcess(this.processRoom, found);
    this.supervised = found;
    await this.company.part(found);
  }

  /** What a hand-over left beside what serves answers what it has begun, and ends; then its sockets are closed. Nobody waits for it. */
  async letOthersGo(): Promise<void> {
    await this.company.letAllGo();
    void this.company.alone().then(async () => {
      if ((await this.company.list()).length === 0) await this.#sockets.closeUnused();
    });
  }

  /**
   * Stops whatever of the component runs, then starts the slot's entry point if it has one. A damaged slot is not started, and what runs
   * is not stopped for it. Errors: `slot/damaged`, `process/*`.
   */
  start(id: SlotId, run: RunSpec): Promise<void> {
    return this.#inTurn(() => this.#start(id, run));
  }

  async #start(id: SlotId, run: RunSpec): Promise<void> {
    if (run.entryPoint !== undefined) await this.guard.beforeStart(id);
    await this.#stop();
    if (run.entryPoint === undefined) return;
    await this.#rotate();
    await this.#spawn(id, run, run.entryPoint, null);
    await this.#sockets.closeUnused();
  }

  /** Starts once more what served and ended; what is beside it goes on. Errors: as those of `start`. */
  startAgain(id: SlotId, run: RunSpec): Promise<void> {
    return this.#inTurn(() => this.#startAgain(id, run));
  }

  async #startAgain(id: SlotId, run: RunSpec): Promise<void> {
    if (run.entryPoint === undefined) return;
    await this.guard.beforeStart(id);
    await this.#stopServing();
    const [beside = null] = await this.company.staying();
    if (beside === null) await this.#rotate();
    await this.#spawn(id, run, run.entryPoint, beside);
  }

  /** Starts the slot's service beside what serves, which is kept as company and goes on whatever comes of it. Errors: as those of `start`. */
  startBeside(id: SlotId, run: RunSpec): Promise<void> {
    return this.#inTurn(async () => {
      if (run.entryPoint === undefined) return;
      await this.guard.beforeStart(id);
      await this.noticeRunning();
      const serving = this.supervised;
      const before = serving !== null && (await isAlive(serving)) ? serving : null;
      if (before !== null) await this.company.join(before);
      const [beside = null] = await this.company.staying();
      this.logFrom = await this.world.logs.size(this.layout.log);
      try {
        await this.#spawn(id, run, run.entryPoint, before ?? beside);
      } catch (error) {
        this.supervised = null;
        if (beside !== null) await this.#promote(before ?? beside);
        throw error;
      }
    });
  }

  /** Takes away what serves, at once, and goes on with what is beside it. Errors: `process/will-not-stop`, `disk/*`. */
  goOnWith(found: Supervised): Promise<void> {
    return this.#inTurn(async () => {
      const serving = this.supervised;
      if (found === serving) return;
      await this.#promote(found);
      if (serving !== null) await this.company.dismiss(serving, this.settings.stopMs);
    });
  }

  async #rotate(): Promise<void> {
    await this.world.logs.rotate(this.layout.log);
    this.logFrom = 0;
  }

  /** `from`: what runs and may hold the sockets since an earlier agent. */
  async #spawn(
    id: SlotId,
    run: RunSpec,
    entryPoint: NonNullable<RunSpec["entryPoint"]>,
    from: Supervised | null,
  ): Promise<void> {
    const slot = slotName(id);
    const variable = askedPort(run, this.settings);
    const given = variable === null ? {} : await givePort(this.#portRoom, variable, slot);
    this.#given.set(slot, given);
    const sockets = await this.#sockets.hold(run, from);
    const { spec, digest } = this.#launch(id, run, entryPoint, given);
    const launch = sockets.length === 0 ? spec : { ...spec, sockets };
    const alive = [...(await this.company.list()), ...(from === null ? [] : [from])];
    const ready = run.handOver?.ready === "notify" ? await this.readiness.prepare(alive) : null;
    this.supervised = await startProcess(this.processRoom, slot, digest, launch, ready);
    this.#restart = { ...this.#restart, startedAt: this.world.clock.monotonic(), dueAt: null };
  }

  /**
   * What `current` names runs if it is a service, and nothing else does; used when no attempt is being watched. What runs from a slot that
   * was damaged since goes on; what does not run is not started from one.
   */
  async keepRunning(): Promise<void> {
    const id = await this.currentId();
    if (id === null || this.withheld !== null) return this.#rest();
    try {
      const run = await this.runOf(id);
      if (!isService(run)) return await this.#rest();
      if (!(await this.adopt(id, run))) await this.start(id, run);
      // What a hand-over left that was not carried to its end.
      await this.letOthersGo();
    } catch (error) {
      if (error instanceof ProcessError) this.startLater();
      if (!isDamage(error)) throw error;
      // A record that cannot be read has not been told of yet.
      if (this.guard.damage === null)
        await this.guard.readAll(id).catch((again: unknown) => {
          if (!isDamage(again)) throw again;
        });
      const found = this.supervised ?? (await findProcess(this.processRoom));
      if (found === null || found.slot !== slotName(id) || !(await isAlive(found))) return this.stop();
      this.supervised = found;
    }
  }

  async #rest(): Promise<void> {
    await this.stop();
    await this.#sockets.closeAll();
  }

  /** Takes note of a process that an earlier agent left running, whatever slot it is from. */
  async noticeRunning(): Promise<void> {
    this.supervised ??= await findProcess(this.processRoom);
  }

  /** True while a process of the component runs, as far as this agent knows. */
  async isUp(): Promise<boolean> {
    return this.supervised !== null && (await isAlive(this.supervised));
  }

  #launch(id: SlotId, run: RunSpec, entryPoint: NonNullable<RunSpec["entryPoint"]>, given: GivenPorts = {}) {
    return launchOf({ ...run, entryPoint }, this.place(id), this.settings, this.world.environment, given);
  }

  get #portRoom(): PortRoom {
    const { disk, random, localPorts } = this.world;
    return { disk, random, localPorts, path: this.layout.ports };
  }

  /** What a program of the slot finds in its environment: its service and its probe alike. */
  async environmentOf(id: SlotId, run: RunSpec): Promise<Readonly<Record<string, string>>> {
    const variable = askedPort(run, this.settings);
    const slot = slotName(id);
    const given =
      variable === null ? {} : (this.#given.get(slot) ?? (await readGiven(this.#portRoom, variable, slot)));
    return environmentOf(run, this.place(id), this.settings, this.world.environment, given);
  }

  /** Keeps what the running component writes within its bound. */
  boundLog(): Promise<void> {
    return this.world.logs.bound(this.layout.log, LOG_LIMIT);
  }

  /** After it nothing of the component runs, whoever started it. */
  stop(): Promise<void> {
    return this.#inTurn(() => this.#stop());
  }

  /**
   * If the service of the committed version ended by itself, starts it again once its pause is over.
   * Returns how often it ended in a row if it was found ended now, else null.
   */
  restartIfEnded(): Promise<number | null> {
    return this.#inTurn(async () => {
      const found = this.supervised;
      const now = this.world.clock.monotonic();
      const { dueAt } = this.#restart;
      if (this.owned || this.withheld !== null) return null;
      if (dueAt !== null) {
        if (now < dueAt) return null;
        this.#restart = { ...this.#restart, dueAt: null };
        try {
          const id = await this.currentId();
          const run = id === null ? null : await this.runOf(id);
          if (id !== null && run !== null && isService(run)) await this.#startAgain(id, run);
        } catch (error) {
          // A damaged slot is not tried again: it is replaced.
          if (isDamage(error)) return this.#putDown();
          const { waitMs, next } = afterEnd(this.#restart, now);
          this.#restart = { ...next, dueAt: now + waitMs };
          throw error;
        }
        return null;
      }
      if (found === null || (await isAlive(found))) return null;
      const { waitMs, next } = afterEnd(this.#restart, now);
      this.#restart = { ...next, dueAt: now + waitMs };
      const exit = describeExit(await found.process.exited);
      const { product } = this;
      this.world.log({ level: "warn", event: "component-ended", product, how: exit, again: waitMs });
      return next.failures;
    });
  }

  /** What could not be started is tried again by `restartIfEnded`, with growing pauses, and not only at the next check. */
  startLater(): void {
    const { waitMs, next } = afterEnd(this.#restart, this.world.clock.monotonic());
    this.#restart = { ...next, dueAt: this.world.clock.monotonic() + waitMs };
  }

  /** Nothing runs, and nothing is started until the slot was replaced or found whole. */
  async #putDown(): Promise<null> {
    await this.#stop();
    this.guard.callForRepair();
    return null;
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(action, action);
    this.#turn = run.catch(() => undefined);
    return run;
  }

  async #stop(): Promise<void> {
    await Promise.all([this.#stopServing(), this.company.dismissAll(this.settings.stopMs)]);
  }

  async #stopServing(): Promise<void> {
    const found = this.supervised ?? (await findProcess(this.processRoom));
    if (found !== null) await found.process.stop(this.settings.stopMs);
    this.supervised = null;
    await forgetProcess(this.processRoom);
  }

  /** What really runs: the version of the live process; for data and jobs the version that `current` names. */
  async running(): Promise<string | null> {
    const id = await this.currentId();
    if (id === null) return null;
    if (this.supervised !== null && this.supervised.slot === slotName(id) && (await isAlive(this.supervised)))
      return id.version;
    try {
      if (isService(await this.runOf(id))) return null;
    } catch (error) {
      if (isDamage(error)) return null;
      throw error;
    }
    const { damage } = this.guard;
    return damage !== null && sameSlot(damage.slot, id) ? null : id.version;
  }

  /** Removes what neither link, journal, process nor state names, gathered now. */
  async collect(): Promise<void> {
    const keep = new Set(namedSlots(this.#state).map(slotName));
    const attempt = this.attempt;
    const snapshots = new Set<string>();
    if (attempt !== null) {
      // What a repair replaced is of no use to anybody.
      const lost = hasReplaced(attempt) && attempt.begin.damage !== undefined;
      if (attempt.begin.from !== null && !lost) keep.add(slotName(attempt.begin.from));
      // Of an attempt that ended without success nothing is kept but what the state names.
      if (attempt.end === null || hasReplaced(attempt)) keep.add(slotName(attempt.begin.to));
      if (attempt.end === null) snapshots.add(attempt.begin.attempt);
    }
    const link = await readCurrent(this.world.disk, this.layout);
    if (link !== null && link.startsWith("slots/")) keep.add(link.slice("slots/".length));
    const recorded = [await recordedSlot(this.processRoom), ...(await besideSlots(this.processRoom))];
    for (const slot of [this.supervised?.slot, ...recorded])
      if (slot !== undefined && slot !== null) keep.add(slot);
    await collectGarbage(this.world.disk, this.layout, { slots: keep, snapshots });
  }

  at(): string {
    return formatInstant(this.world.clock.now());
  }
}
