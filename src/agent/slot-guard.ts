// Stands before every start of a component and looks after what is installed: a slot that is not as it was recorded is told of, and never started.

import { DiskError, makeDirectories, removeTree } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { quoteName, showName } from "../core/raw-name.ts";
import { DAY, formatInstant, type Instant } from "../core/instant.ts";
import { damageOf, recentRecords } from "../slot/attempt.ts";
import { checkInstalled, type Checked } from "../slot/check-slot.ts";
import { loadChecked, saveChecked } from "../slot/checked.ts";
import { SlotError } from "../slot/errors.ts";
import type { SlotCheckEvent } from "../slot/journal-event.ts";
import type { Journal } from "../slot/journal.ts";
import { sameSlot, slotName, slotPath, type Layout, type SlotId } from "../slot/layout.ts";
import { readRecord } from "../slot/record.ts";
import { codeOf, sentenceOf } from "./errors.ts";
import type { World } from "./ports.ts";
import { parseRun, type RunSpec } from "./run-spec.ts";
import type { ComponentSettings } from "./settings.ts";

/** What the guard knows of its component. */
export interface Guarded {
  readonly world: World;
  readonly product: string;
  readonly layout: Layout;
  readonly settings: ComponentSettings;
  readonly journal: Journal;
  /** The slot that must run while no attempt is being activated. */
  readonly rightful: SlotId | null;
  /** SHA-256 of the slot's record as it was made, null if that is not known. */
  digestOf(id: SlotId): string | null;
}

/** Between two full checks of what runs. */
export const CHECK_EVERY = DAY;
/** A background check rests this long after each part of 256 KiB: at most about 12 MB a second. */
const REST = 20;
/** Added entries that a log line names. */
const SHOWN = 20;

export class SlotGuard {
  readonly #of: Guarded;
  /** What could not be written into the journal. */
  #unwritten: SlotCheckEvent | null = null;
  /** When every byte of which slot was read last. */
  #read: { readonly slot: SlotId; readonly at: Instant } | null = null;
  #news = false;
  #toldAdded = "";

  constructor(of: Guarded) {
    this.#of = of;
  }

  /** What is wrong with the slot that should run, null if nothing is known to be. */
  get damage(): SlotCheckEvent | null {
    const { rightful, journal } = this.#of;
    if (rightful === null) return null;
    if (this.#unwritten !== null && sameSlot(this.#unwritten.slot, rightful)) return this.#unwritten;
    return damageOf(journal.events, rightful);
  }

  /** True once after damage was found that nobody knew of, or stopped what could still run. */
  takeNews(): boolean {
    const news = this.#news;
    this.#news = false;
    return news;
  }

  /** What was damaged before does not run any more: its repair has waited long enough. */
  callForRepair(): void {
    this.#news = true;
  }

  /** The one gate of every start. Reads what the policy of this device says. Errors: `slot/damaged`, `disk/*`. */
  async beforeStart(id: SlotId): Promise<void> {
    const { world, layout, settings } = this.#of;
    const last = settings.verify === "changed" ? await loadChecked(world.disk, layout, id) : null;
    if (last === null) {
      const { added } = await this.readAll(id);
      if (added.length > 0) await this.#putAside(id, added);
      return;
    }
    const checked = await this.#judge(id, () =>
      checkInstalled(world.disk, layout, id, this.#of.digestOf(id), { known: last.stamps }),
    );
    if (checked.added.length > 0) await this.#putAside(id, checked.added);
    this.#read ??= { slot: id, at: last.at };
    if (checked.bytes > 0) await this.#keep(id, checked, last.at);
  }

  /** Reads every byte, whatever the policy. Errors: `slot/damaged`, `disk/*`, the signal's reason. */
  async readAll(id: SlotId, slowly: AbortSignal | null = null): Promise<Checked> {
    const { world, layout, settings } = this.#of;
    const pace = slowly === null ? {} : { pace: () => world.clock.sleep(REST, slowly) };
    const at = world.clock.now();
    const checked = await this.#judge(id, () =>
      checkInstalled(world.disk, layout, id, this.#of.digestOf(id), pace),
    );
    this.#read = { slot: id, at };
    if (slowly !== null) this.#tellAdded(id, checked.added);
    if (settings.verify === "changed") await this.#keep(id, checked, at);
    return checked;
  }

  /** Whether a day went by since all of the slot was read. */
  async isDue(id: SlotId): Promise<boolean> {
    const { world, layout } = this.#of;
    const now = world.clock.now();
    if (this.#read === null || !sameSlot(this.#read.slot, id)) {
      const last = await loadChecked(world.disk, layout, id);
      if (last === null) return true;
      this.#read = { slot: id, at: last.at };
    }
    // A clock that was set back costs one check and hides none.
    return now - this.#read.at >= CHECK_EVERY || now < this.#read.at;
  }

  /** How the slot is run, by a record that is as it was made. Errors: `slot/damaged`, `schema/invalid`, `disk/*`. */
  async runOf(id: SlotId): Promise<RunSpec> {
    const { world, layout } = this.#of;
    try {
      return parseRun((await readRecord(world.disk, layout, id, this.#of.digestOf(id))).run);
    } catch (error) {
      throw this.#asDamage(id, error);
    }
  }

  /**
   * Nothing that belongs to no release is there when a program starts: a cache that it wrote itself, or a plugin of an intruder. It costs no
   * download and no version; what was found is kept until the next time. Errors: `slot/damaged` if it cannot be moved, `disk/*`.
   */
  async #putAside(id: SlotId, added: readonly string[]): Promise<void> {
    const { world, product, layout } = this.#of;
    const { disk } = world;
    const slot = slotPath(layout, id);
    await removeTree(disk, layout.aside);
    await makeDirectories(disk, layout.aside, 0o700);
    for (const [i, entry] of added.entries()) {
      try {
        await disk.rename(`${slot}/${entry}`, `${layout.aside}/${i}`);
      } catch (cause) {
        if (!(cause instanceof DiskError)) throw cause;
        const what = `The slot ${slot} holds ${quoteName(entry, 200)}, which belongs to no release and cannot be moved away.`;
        const error = new SlotError("slot/damaged", what, { path: slot, entry }, { cause });
        await this.#found(id, error);
        throw error;
      }
    }
    world.log({
      level: "warn",
      event: "slot-cleaned",
      product,
      slot: slotName(id),
      entries: added.slice(0, SHOWN).map((entry) => showName(entry).slice(0, 200)),
      count: added.length,
      kept: layout.aside,
    });
  }

  /** A running program may write beside itself; that is told once, and put aside when it starts again. */
  #tellAdded(id: SlotId, added: readonly string[]): void {
    const { world, product } = this.#of;
    const all = added.join("\n");
    if (all === this.#toldAdded) return;
    this.#toldAdded = all;
    if (added.length === 0) return;
    world.log({
      level: "warn",
      event: "slot-added",
      product,
      slot: slotName(id),
      entries: added.slice(0, SHOWN).map((entry) => showName(entry).slice(0, 200)),
      count: added.length,
    });
  }

  async #judge<T extends Checked>(id: SlotId, check: () => Promise<T>): Promise<T> {
    try {
      const checked = await check();
      if (this.#isRightful(id) && this.damage !== null) await this.#note(id, null);
      return checked;
    } catch (error) {
      const told = this.#asDamage(id, error);
      if (told instanceof SlotError && told.code === "slot/damaged") await this.#found(id, told);
      throw told;
    }
  }

  /** What cannot be read cannot be believed: a bad sector is damage, and so is a record that is gone. */
  #asDamage(id: SlotId, error: unknown): unknown {
    if (!(error instanceof DiskError) || !["disk/io", "disk/missing", "disk/wrong-kind"].includes(error.code))
      return error;
    const path = slotPath(this.#of.layout, id);
    return new SlotError(
      "slot/damaged",
      `The slot ${path} cannot be read: ${error.message}`,
      { path },
      { cause: error },
    );
  }

  async #found(id: SlotId, error: SlotError): Promise<void> {
    const { world, product } = this.#of;
    if (this.#isRightful(id) && this.damage !== null) return;
    const slot = slotName(id);
    world.log({
      ...error.facts,
      level: "error",
      event: "slot-damaged",
      product,
      slot,
      code: error.code,
      message: sentenceOf(error),
    });
    if (!this.#isRightful(id)) return;
    this.#news = true;
    await this.#note(id, sentenceOf(error));
  }

  #isRightful(id: SlotId): boolean {
    return sameSlot(this.#of.rightful, id);
  }

  /** A journal that cannot take the line keeps nobody from acting on it. */
  async #note(slot: SlotId, what: string | null): Promise<void> {
    const { world, product, journal } = this.#of;
    const found = what === null ? "whole" : "damaged";
    const at = formatInstant(world.clock.now());
    const event = { event: "slot-check", slot, found, what, at } as const;
    if (what === null) world.log({ level: "info", event: "slot-whole-again", product, slot: slotName(slot) });
    try {
      await journal.reserve(recentRecords);
      await journal.append(event);
      this.#unwritten = null;
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
      this.#unwritten = what === null ? null : event;
      world.log({
        level: "warn",
        event: "slot-check-not-noted",
        product,
        code: codeOf(error),
        message: sentenceOf(error),
      });
    }
  }

  /** Without it the next start reads more; that is all. */
  async #keep(id: SlotId, checked: Checked, at: Instant): Promise<void> {
    const { world, layout, product } = this.#of;
    try {
      await saveChecked(world.disk, layout, id, checked, at);
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
      world.log({
        level: "warn",
        event: "check-not-kept",
        product,
        code: codeOf(error),
        message: sentenceOf(error),
      });
    }
  }
}

/** True for what a guard says of a slot that must not be started. */
export function isDamage(error: unknown): error is SlotError {
  return error instanceof SlotError && error.code === "slot/damaged";
}
