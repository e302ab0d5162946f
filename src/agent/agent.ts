// The agent of one device: joins check, components, reports and status, with one lock over everything that changes something.

import { makeDirectories } from "../core/disk.ts";
import { formatInstant } from "../core/instant.ts";
import { UpkeepError } from "../core/errors.ts";
import type { CheckInRequest } from "../message/check-in.ts";
import { nameSchema, z } from "../core/schema.ts";
import { applyAssignment, type Device } from "./apply-assignment.ts";
import { attend, blockAtStart, serveAfterCheck, type Attended } from "./attend.ts";
import { patrol, repairAll, tellDamage, verifyAll, type Care, type SlotFinding } from "./care.ts";
import {
  askWhatToRun,
  readRepository,
  readWhatWasBrought,
  type Instructions,
  type Wish,
  type Marks,
} from "./check.ts";
import { reportOf } from "./attempt-report.ts";
import { ownerStanding } from "./manners-memory.ts";
import { Manners } from "./manners.ts";
import { Prompter } from "./prompter.ts";
import { marksIn } from "./check-in-mark.ts";
import type { Component } from "./component.ts";
import { keptAssignment } from "./kept-assignment.ts";
import { lastAttempts, lineOf } from "./chronicle.ts";
import { EventLog } from "../history/event-log.ts";
import { checkFailure, type CheckResult } from "./check-result.ts";
import { AgentError, sentenceOf } from "./errors.ts";
import { checkSelf, collectDownloads } from "./start.ts";
import type { LicenseKeeper } from "./license-keeper.ts";
import { inventoryFacts } from "./inventory.ts";
import type { Mailbox } from "./mailbox.ts";
import type { MessageKeys } from "./message-keys.ts";
import { openComponent } from "./open-component.ts";
import { othersOf } from "./others.ts";
import { Post } from "./post.ts";
import { Recalls } from "./recalls.ts";
import { closedOutbox, openOutbox, type Outbox } from "./outbox.ts";
import { Teller } from "./teller.ts";
import type { DeviceIdentity, Notice, Repository, ServerTrust, UpdateServer, World } from "./ports.ts";
import { CRASH_LOOP } from "../process/restart.ts";
import { forgetUninstalled } from "../slot/uninstalled.ts";
import type { Source } from "./repair-component.ts";
import { componentSettings, strayComponents, type Settings } from "./settings.ts";
import { StatusBoard } from "./status-board.ts";
import type { Status } from "./status.ts";
import { uninstallComponent, uninstalledSentence } from "./uninstall.ts";
import {
  finish,
  goBack,
  recoverComponent,
  type ComponentResult,
  type Refusals,
  type Update,
} from "./update-component.ts";

export type AgentParts = {
  readonly world: World;
  readonly folder: string;
  readonly identity: DeviceIdentity;
  readonly repository: Repository;
  readonly server: UpdateServer;
  readonly trust: ServerTrust;
  readonly settings: Settings;
  /** Absent where none are kept. */
  readonly licenses?: LicenseKeeper;
  readonly pid: number;
  /**
   * Why nothing is updated until somebody mends this device: a setting that cannot be read, an identity that is damaged. What is installed
   * was proved when it came, and runs all the same.
   */
  readonly grounded?: UpkeepError;
  /** Where messages are judged; without it none is opened. */
  readonly mail?: { readonly mailbox: Mailbox; readonly keys: MessageKeys };
  /** The version of the TUF timestamp that is trusted; null when none is. */
  readonly timestampVersion?: () => Promise<number | null>;
  /** True while the key that signs reports cannot be had: those that wait stay as they are, and none is made. */
  readonly unsigned?: boolean;
};

export type Trigger = "start" | "schedule" | "wake-up" | "operator";

/** Rounds of `tend`, which come every second. */
const BOUND_LOGS_EVERY = 30;

export class Agent {
  readonly parts: AgentParts;
  readonly outbox: Outbox;
  /** What happened on this device, for its owner. */
  readonly history: EventLog;
  readonly #teller: Teller;
  readonly #strays = new Set<string>();
  readonly #components = new Map<string, Component>();
  readonly #refusals: Refusals = new Map();
  readonly #repairs: Refusals = new Map();
  /** The running change, which later callers join or wait for. */
  #turn: Promise<unknown> = Promise.resolve();
  #check: { readonly wish: number; readonly result: Promise<CheckResult> } | null = null;
  readonly board: StatusBoard;
  readonly post: Post | null;
  #inventories = 0;
  readonly #stopping = new AbortController();
  #tended = 0;
  readonly #recalls: Recalls;
  readonly manners: Manners;
  readonly prompter: Prompter;

  constructor(parts: AgentParts, outbox: Outbox) {
    this.parts = parts;
    this.outbox = outbox;
    this.history = new EventLog(parts.world.disk, `${parts.folder}/log`);
    this.#teller = new Teller(parts.world, parts.server, outbox, this.stopped, this.history);
    this.#recalls = new Recalls({
      ...parts,
      stopped: this.stopped,
      // Beside a check, which keeps its mark for itself: two at once would look like two devices.
      ask: (signal) => this.#ask(signal, null),
    });
    const owner = {
      world: parts.world,
      sendInventory: () => this.sendInventory(),
      nudge: () => this.nudge(),
      renewSoon: () => parts.server.renewSoon?.(),
    };
    this.post = parts.mail === undefined ? null : new Post(owner, parts.mail);
    this.manners = new Manners(parts.world, parts.folder, parts.settings);
    this.prompter = new Prompter(parts.world, this.manners, parts.settings);
    this.board = new StatusBoard(parts, {
      components: () => this.components,
      messages: () => this.post?.status ?? null,
      notices: () => [
        ...groundedNotice(parts.grounded),
        ...forgottenNotice(this.manners.lost),
        ...this.#teller.notices,
      ],
      reportsWaiting: () => outbox.waiting,
      wait: (product) => this.manners.waits.get(product) ?? null,
    });
  }

  get components(): readonly Component[] {
    return [...this.#components.values()];
  }

  get stopped(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Opens every component that is on disk and finishes what an earlier run left. What cannot be finished is told and tried again at each check. */
  async start(): Promise<void> {
    await this.openAll();
    for (const component of this.components)
      await this.#guarded(component.product, () => blockAtStart(this.parts.world, this.manners, component));
    await this.#exclusive(() => this.#recoverAll(false));
    await collectDownloads(this.parts.world, this.parts.folder, this.components);
    await this.board.write();
  }

  /** Opens every component that is on disk, and starts nothing. Errors: `agent/self-check-failed`, `disk/*`. */
  async openAll(): Promise<void> {
    const { world, folder } = this.parts;
    await checkSelf(world);
    await this.manners.load();
    await makeDirectories(world.disk, `${folder}/components`);
    await makeDirectories(world.disk, `${folder}/download`);
    for (const name of await world.disk.list(`${folder}/components`)) {
      if (!z.safeParse(nameSchema, name).success) continue;
      await this.#guarded(name, async () => {
        await this.#open(name);
      });
    }
    await this.#settleHistory();
  }

  status(): Promise<Status> {
    return this.board.status();
  }

  /**
   * A check. Who calls while one runs joins it; a call that wishes for more than the running one waits for it and then runs its own.
   * `asked`: a person wants what is at hand activated now, whatever the hour.
   */
  check(trigger: Trigger, asked = false): Promise<CheckResult> {
    const wish = asked ? 2 : trigger === "operator" ? 1 : 0;
    // A probation under way would keep the check waiting: whether it was recalled is asked beside it.
    this.nudge();
    if (this.#check !== null && this.#check.wish >= wish) return this.#check.result;
    const result = this.#exclusive(() => this.#runCheck(trigger, undefined, asked)).finally(() => {
      if (this.#check?.result === result) this.#check = null;
    });
    this.#check = { wish, result };
    return result;
  }

  /**
   * The check of an operator who wants what failed here to be tried once more: the skip lists are forgotten first, and that is logged.
   * What comes of it is reported as any attempt; floors and recalls hold as ever. Errors: `disk/*`.
   */
  async retrySkipped(): Promise<CheckResult> {
    await this.#exclusive(async () => {
      await this.#asked("retry-skipped");
      for (const component of this.components) await component.forgetSkips();
    });
    return this.check("operator");
  }

  /** The same check with a copy of the repository that the owner brought instead of the server: same trust, same rules, same reports. */
  install(brought: Repository, wish: Wish): Promise<CheckResult> {
    const { grounded } = this.parts;
    const read = async (): Promise<Instructions> => {
      if (grounded !== undefined) throw grounded;
      return readWhatWasBrought(
        { world: this.parts.world, repository: brought, trust: this.parts.trust, signal: this.stopped },
        this.components.map(({ product }) => product),
        wish,
      );
    };
    // The one thing that the owner of a stick decides is that it happens now.
    return this.#exclusive(() => this.#runCheck("operator", read, true));
  }

  /** Reads back every byte of what is installed, now; damage that nobody knew of is told, and repaired by the next check. Errors: `disk/*`. */
  async verify(): Promise<readonly SlotFinding[]> {
    for (const component of this.components) await component.noticeRunning();
    const findings = await verifyAll(this.components);
    await tellDamage(this.#care(false));
    await this.board.write();
    return findings;
  }

  /** Signs what runs here now, and sends it; it waits in the outbox while no server can be reached. */
  async sendInventory(): Promise<void> {
    const { world, folder } = this.parts;
    const facts = await inventoryFacts(world, folder, this.components);
    const key = `inventory ${world.clock.now()} ${world.clock.monotonic()} ${++this.#inventories}`;
    try {
      await this.outbox.add(key, (fields) => ({ ...fields, kind: "inventory", ...facts }));
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
      world.log({ level: "error", event: "report-lost", code: error.code, message: sentenceOf(error) });
    }
    await this.#teller.flush();
  }

  /** What of the daily check is due, in the background and slowly. */
  patrol(): Promise<void> {
    return patrol(this.components, this.stopped);
  }

  /** True once after damage was found, or a probation was ended by a recall: a check should follow at once. */
  takeNews(): boolean {
    const recalled = this.#recalls.takeNews();
    return this.components.map((component) => component.guard.takeNews()).includes(true) || recalled;
  }

  /** There may be news that a probation under way should know of. */
  nudge(): void {
    this.#recalls.nudge();
  }

  /** True while something cannot run because it is damaged and could not be replaced: checks come sooner then. */
  async isCrippled(): Promise<boolean> {
    for (const component of this.components)
      if (component.guard.damage !== null && !(await component.isUp())) return true;
    return false;
  }

  /** Starts again what ended by itself, with growing pauses; tells people when that happens again and again. */
  async tend(): Promise<void> {
    this.#tended++;
    for (const component of this.components) {
      await this.#guarded(component.product, async () => {
        const ends = await component.restartIfEnded();
        if (this.#tended % BOUND_LOGS_EVERY === 0) await component.boundLog();
        if (ends === CRASH_LOOP)
          await this.#teller.alarm(
            `crash-loop ${component.product}`,
            "process/crash-loop",
            `${component.product} ended ${ends} times in a row; it is started again with growing pauses.`,
            component.product,
          );
      });
    }
  }

  /** What manners ask between two checks (attend.ts). */
  attend(): Promise<void> {
    return attend(this.#attended());
  }

  /** Back to the version before, by hand. Errors: `agent/not-installed`, `agent/nothing-to-go-back-to`, `agent/interrupted`. */
  rollBack(product: string): Promise<ComponentResult> {
    return this.#exclusive(async () => {
      const component = this.#installed(product);
      await this.#asked("rollback", product);
      await this.#recover(component, true);
      await this.#recalls.learn(component);
      const result = await goBack(this.#update(component, true));
      this.board.done(result);
      await this.#teller.flush();
      await this.board.write();
      return result;
    });
  }

  /**
   * Uninstalls a component, because its owner says so, and remembers that over restarts and whatever the server wishes. Floor and skip list
   * stay, its data as well unless `purge`. Errors: `agent/not-installed`, `agent/needed`, `agent/interrupted`, `process/*`, `disk/*`.
   */
  uninstall(product: string, purge: boolean): Promise<ComponentResult> {
    return this.#exclusive(async () => {
      const component = this.#installed(product);
      await uninstallComponent(component, purge, {
        others: () => othersOf(this.components, component),
        asked: (what) => this.#asked(what, product),
        settle: async (trouble) => {
          await this.#recover(component, true);
          if (component.openAttempt !== null)
            await finish(this.#update(component, true), "superseded", trouble);
        },
      });
      this.#components.delete(product);
      const empty = await this.#open(product);
      const reason = uninstalledSentence(product, empty.uninstalled!);
      await this.#teller.alarm(`uninstalled ${product}`, "agent/uninstalled", reason, product);
      await this.#teller.flush();
      await this.board.write();
      const { version: from } = empty.uninstalled!;
      return { product, result: "held", from, to: null, running: null, code: null, reason, until: null };
    });
  }

  /** Takes an uninstall back, and checks at once: what the server assigns is installed again. Errors: `agent/not-installed`, `disk/*`. */
  async takeBack(product: string): Promise<CheckResult> {
    await this.#exclusive(async () => {
      const component = this.#installed(product);
      await this.#asked("install", product);
      await this.#recover(component, true);
      await forgetUninstalled(this.parts.world.disk, component.layout);
      component.uninstalled = null;
      await this.outbox.clear(`uninstalled ${product}`);
      this.parts.world.log({ level: "info", event: "uninstall-taken-back", product });
    });
    return this.check("operator");
  }

  #settleHistory(): Promise<void> {
    return this.history.settle(formatInstant(this.parts.world.clock.now()), lastAttempts(this.components));
  }

  #asked(what: string, product?: string): Promise<void> {
    const at = formatInstant(this.parts.world.clock.now());
    return this.history.add({ at, event: "asked", what, ...(product === undefined ? {} : { product }) });
  }

  #installed(product: string): Component {
    const component = this.#components.get(product);
    if (component !== undefined) return component;
    throw new AgentError("agent/not-installed", `${product} is not installed on this device.`, { product });
  }

  /** Stops everything in good order: what is watched is marked as paused, components end, reports stay in the outbox. */
  async stop(): Promise<void> {
    this.board.doing = "stopping";
    this.interrupt();
    await this.#turn.catch(() => undefined);
    for (const component of this.components) await this.#guarded(component.product, () => component.stop());
    this.board.doing = "stopped";
    await this.board.write();
  }

  /** Stops what is under way where it can be gone on with; nothing that runs is stopped. */
  interrupt(): void {
    this.#stopping.abort(new AgentError("agent/stopping", "The agent is stopping.", {}));
  }

  /**
   * For one check without an agent that stays: what runs goes on running, and the next agent takes it over. Where that could not find it again,
   * it ends here: there are never two of it.
   */
  async leave(): Promise<void> {
    await this.#turn.catch(() => undefined);
    if (!(await this.parts.world.processes.findsAgain()))
      for (const component of this.components) await this.#guarded(component.product, () => component.stop());
    this.board.doing = "stopped";
    await this.board.write();
  }

  async #runCheck(
    trigger: Trigger,
    brought?: () => Promise<Instructions>,
    asked = false,
  ): Promise<CheckResult> {
    const { world } = this.parts;
    const at = formatInstant(world.clock.now());
    const byHand = trigger === "operator";
    this.board.doing = "checking";
    if (this.parts.licenses !== undefined) this.parts.licenses.eager = trigger !== "schedule";
    world.log({ level: "info", event: "check", trigger });
    let components: ComponentResult[] = [];
    let failure: CheckResult["failure"] = null;
    let instructions: Instructions | null = null;
    let retryAfter: number | null = null;
    try {
      await this.board.write();
      await this.#recoverAll(byHand);
      await this.#settleHistory();
      instructions = await (brought?.() ?? this.#ask());
      await this.#settleLicenses(brought !== undefined, instructions);
      const { away } = instructions;
      this.#recalls.interval = instructions.interval ?? this.#recalls.interval;
      if (brought === undefined && away === null) await this.outbox.clear("check ");
      if (brought === undefined) await this.#lookAtMessages();
      if (instructions.complete) this.#tellStrays(instructions);
      await this.manners.hear(instructions, this.components);
      components.push(...(await applyAssignment(this.#device(byHand, asked), instructions)));
      // What could be done without a server is done; that there was none is told all the same.
      if (away !== null) throw away;
    } catch (error) {
      const failed = checkFailure(error, world.log);
      ({ failure, retryAfter } = failed);
      await this.#teller.alarm(`check ${failed.failure.code}`, failed.failure.code, failed.alarm, null);
    }
    const repaired = await repairAll(this.#care(byHand), () => this.#source(instructions));
    components = [
      ...components.filter((one) => !repaired.some((r) => r.product === one.product)),
      ...repaired,
    ];
    await tellDamage(this.#care(byHand));
    await this.#teller.flush();
    for (const result of components) this.board.done(result);
    if (failure === null)
      for (const component of this.components)
        await this.#guarded(component.product, () => serveAfterCheck(component));
    this.board.lastCheck = {
      at,
      result: failure === null ? "ok" : "failed",
      code: failure?.code ?? null,
      message: failure?.message ?? null,
    };
    this.board.doing = "waiting";
    await this.board.write();
    return {
      at,
      components,
      failure,
      interval: instructions?.interval ?? null,
      seq: instructions?.seq ?? null,
      retryAfter,
    };
  }

  /** What was brought by hand may say who issues licenses and which were revoked; else the server is there to be spoken to. */
  async #settleLicenses(brought: boolean, { releases, away }: Instructions): Promise<void> {
    const { licenses, server } = this.parts;
    if (brought) await licenses?.follow(releases);
    else if (away === null && server.licensing !== undefined)
      await licenses?.settle(server.licensing, this.stopped);
  }

  /** What messages asked for is done by this check; one may have spoken of news that cannot be read here. */
  async #lookAtMessages(): Promise<void> {
    if (this.post === null) return;
    const behind = await this.post.checked((await this.parts.timestampVersion?.()) ?? null);
    await this.outbox.clear("message ", behind.length === 0 ? [] : ["message behind"]);
    for (const { code, message } of behind) await this.#teller.alarm("message behind", code, message, null);
  }

  /** What a repair may rest on: what this check read already, else the repository alone; no server has a say in it. */
  async #source(instructions: Instructions | null): Promise<Source> {
    if (instructions !== null) return instructions;
    const { world, repository } = this.parts;
    try {
      return await readRepository({ world, repository, signal: this.stopped });
    } catch (error) {
      if (error instanceof UpkeepError) return { missing: error };
      throw error;
    }
  }

  #care(byHand: boolean): Care {
    return {
      components: this.components,
      update: (component) => this.#update(component, byHand),
      guarded: (product, action) => this.#guarded(product, action),
      alarm: (key, code, reason, product) => this.#teller.alarm(key, code, reason, product),
      clear: (prefix) => this.outbox.clear(prefix),
      flush: () => this.#teller.flush(),
    };
  }

  async #ask(
    signal: AbortSignal = this.stopped,
    marks: Marks | null = marksIn(this.parts),
  ): Promise<Instructions> {
    const { world, identity, repository, server, trust, grounded } = this.parts;
    if (grounded !== undefined) throw grounded;
    const running = [];
    for (const component of this.components) {
      const open = component.openAttempt;
      const step = open?.ready !== null && open?.activating === false ? "ready" : open?.step;
      const trying = open === null ? {} : { trying: { version: open.begin.to.version, step: step! } };
      running.push({ product: component.product, version: await component.running(), ...trying });
    }
    const notice = (notices: readonly Notice[]) => this.#teller.notice(notices);
    const kept = keptAssignment(world.disk, `${this.parts.folder}/assignment.json`);
    const licenses = marks === null ? null : (this.parts.licenses ?? null);
    const messages = this.post?.correspondence ?? null;
    const state = (): Pick<CheckInRequest, "updates" | "alarms"> => {
      const { lasting } = this.outbox;
      return {
        updates: ownerStanding(this.manners.memory, [...this.#components.keys()], world.clock.now()),
        ...(lasting === null ? {} : { alarms: lasting.map((one) => ({ ...one })) }),
      };
    };
    return askWhatToRun(
      { world, identity, repository, server, trust, kept, licenses, marks, messages, state, notice, signal },
      running,
    );
  }

  async #open(product: string): Promise<Component> {
    const known = this.#components.get(product);
    if (known !== undefined) return known;
    const { world, folder, settings } = this.parts;
    const component = await openComponent(
      world,
      `${folder}/components/${product}`,
      product,
      componentSettings(settings, product),
    );
    this.#components.set(product, component);
    component.noted = async (event) => {
      const line = lineOf(component, event);
      if (line !== null) await this.history.add(line);
    };
    component.neighbor = (other) => this.#components.get(other);
    if (component.damage !== null)
      await this.#teller.alarm(
        `damage ${product}`,
        component.damage.code,
        sentenceOf(component.damage),
        product,
      );
    return component;
  }

  /** Settings for what is not assigned change nothing, which is told once. */
  #tellStrays({ components }: Instructions): void {
    const { settings, world } = this.parts;
    const products = [...this.#components.keys(), ...components.map(({ product }) => product)];
    for (const message of strayComponents(settings, products)) {
      if (this.#strays.has(message)) continue;
      this.#strays.add(message);
      world.log({ level: "warn", event: "settings-unused", message });
    }
  }

  #attended(): Attended {
    return {
      world: this.parts.world,
      manners: this.manners,
      prompter: this.prompter,
      grounded: this.parts.grounded !== undefined,
      components: () => this.components,
      update: (component) => this.#update(component, false),
      guarded: (product, action) => this.#guarded(product, action),
      exclusive: (action) => this.#exclusive(action),
      check: () => this.check("schedule"),
      done: async (result) => {
        this.board.done(result);
        await this.#teller.flush();
        await this.board.write();
      },
      alarm: (key, code, reason, product) => this.#teller.alarm(key, code, reason, product),
      clear: (prefix) => this.outbox.clear(prefix),
    };
  }

  #device(byHand: boolean, asked = false): Device {
    return {
      components: () => this.components,
      find: (product) => this.#components.get(product),
      open: (product) => this.#open(product),
      update: (component) => this.#update(component, byHand, asked),
      entitled: async (manifest) => {
        const installed = this.#components.get(manifest.product)?.state.committed?.version;
        // What is installed stays, whatever became of the license.
        if (installed !== manifest.version) await this.parts.licenses?.admit(manifest);
      },
      alarm: (key, code, reason, product) => this.#teller.alarm(key, code, reason, product),
      clear: (prefix) => this.outbox.clear(prefix),
      log: this.parts.world.log,
    };
  }

  async #recoverAll(byHand: boolean): Promise<void> {
    // What only has to be started comes first: nobody waits for the probation of another.
    const open = (component: Component): number => (component.openAttempt?.activating === true ? 1 : 0);
    for (const component of this.components.toSorted((a, b) => open(a) - open(b)))
      await this.#guarded(component.product, () => this.#recover(component, byHand));
  }

  async #recover(component: Component, byHand: boolean): Promise<void> {
    const result = await recoverComponent(this.#update(component, byHand));
    if (result !== null) this.board.done(result);
  }

  #update(component: Component, byHand: boolean, asked = false): Update {
    const { product } = component;
    return {
      component,
      refusals: this.#refusals,
      repairs: this.#repairs,
      others: () => othersOf(this.components, component),
      recalls: (tried) => this.#recalls.watch(tried),
      byHand,
      asked,
      manners: this.manners,
      turn: (stage) => this.manners.turn(component, stage, { byHand, asked }),
      downloads: `${this.parts.folder}/download`,
      signal: this.stopped,
      report: (attempt, bytes) =>
        this.outbox.add(`attempt ${attempt.begin.attempt}`, (fields) =>
          reportOf(product, attempt, bytes, fields),
        ),
      tell: (state, bytes) => {
        const { to, length } = component.attempt!.begin;
        this.board.progress(product, { to: to.version, state, bytes, length });
      },
    };
  }

  /** Trouble with one component is told and does not stop the others. */
  async #guarded(product: string, action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
      const [code, message] = [error.code, sentenceOf(error)];
      this.parts.world.log({ level: "error", event: "component-trouble", product, code, message });
      const running =
        (await this.#components
          .get(product)
          ?.running()
          .catch(() => null)) ?? null;
      this.board.done({
        product,
        result: "waiting",
        from: running,
        to: null,
        running,
        code,
        reason: message,
        until: null,
      });
      await this.#teller.alarm(`trouble ${product} ${code}`, code, message, product);
    }
  }

  #exclusive<T>(action: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(action, action);
    this.#turn = run.catch(() => undefined);
    return run;
  }
}

function groundedNotice(grounded: UpkeepError | undefined): readonly Notice[] {
  if (grounded === undefined) return [];
  const hint = grounded.hint === undefined ? "" : ` ${grounded.hint}`;
  const message = `What is installed runs, and nothing is updated until this is mended: ${sentenceOf(grounded)}${hint}`;
  return [{ code: grounded.code, about: "device", message, alarm: false }];
}

function forgottenNotice(lost: boolean): readonly Notice[] {
  const message =
    "What this device remembered of holds, answers and waiting updates (manners.json) could not be read: what its owner held is held no more.";
  return lost ? [{ code: "manners/forgotten", about: "device", message, alarm: false }] : [];
}

/** Opens the agent's own state. Errors: `disk/*`. */
export async function openAgent(parts: AgentParts): Promise<Agent> {
  const folder = `${parts.folder}/outbox`;
  const open = parts.unsigned === true ? closedOutbox : openOutbox;
  return new Agent(parts, await open(parts.world, parts.identity, folder));
}
