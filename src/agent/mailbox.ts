// The mailbox: the one place where a message is accepted or dropped. All that comes of an accepted one is a check, a report, or a renewal.

import { sha256Hex } from "../core/digest.ts";
import type { DsseVerifier } from "../core/dsse.ts";
import { UpkeepError } from "../core/errors.ts";
import type { Instant } from "../core/instant.ts";
import {
  judgeTimes,
  MESSAGE_KINDS,
  readBody,
  type MessageAsk,
  type MessageBody,
} from "../message/sealed/body.ts";
import { readHeader, signerOf, unseal, type Unsealed } from "../message/sealed/form.ts";
import type { World } from "./ports.ts";
import { refund, spend, tryOne } from "./mailbox-budgets.ts";
import type { MessageKeys } from "./message-keys.ts";
import {
  isOld,
  joinPending,
  loadMailbox,
  saveMailbox,
  withDrop,
  withNumber,
  type Drop,
  type MailboxState,
  type Pending,
} from "./mailbox-state.ts";

/** Digests of messages that came lately: the same bytes again cost no decryption. */
const SEEN = 256;
/** Messages that came before it was known who may send them. */
const EARLY = 8;

/**
 * `do`: follow it now. `kept`: it counts, and is followed later: over its budget, or because it says so. `early`: nobody can tell yet whose it
 * is; it is judged once signed metadata was read.
 */
export type Verdict =
  | { readonly verdict: "do"; readonly ask: MessageAsk }
  | { readonly verdict: "kept"; readonly ask: MessageAsk; readonly why: "budget" | "later" }
  | { readonly verdict: "early" }
  | { readonly verdict: "dropped"; readonly why: Drop };

export type MailboxParts = {
  readonly world: Pick<World, "disk" | "clock">;
  readonly folder: string;
  readonly device: string;
  /** SHA-256 of the repository's first root: messages of another fleet are nothing here. */
  readonly fleet: string;
  readonly keys: MessageKeys;
  /** A time that signed metadata proves to be past; null when nothing is known. */
  readonly provenTime: () => Promise<Instant | null>;
};

export class Mailbox {
  readonly #parts: MailboxParts;
  #state: MailboxState;
  /** Null until signed metadata was read by this process. */
  #messengers: readonly DsseVerifier[] | null = null;
  readonly #seen = new Set<string>();
  readonly #early: Uint8Array[] = [];
  #turn: Promise<unknown> = Promise.resolve();
  #saved: MailboxState;

  constructor(parts: MailboxParts, state: MailboxState) {
    this.#parts = parts;
    this.#state = this.#saved = state;
  }

  get state(): MailboxState {
    return this.#state;
  }

  /** True once it is known that messages of this fleet are signed: a bare number is nothing then. */
  get wantsSealed(): boolean {
    return (this.#messengers?.length ?? 0) > 0;
  }

  /** The highest number of a messenger that counted here: where a stream may go on. */
  get newest(): number {
    return Math.max(0, ...Object.values(this.#state.counted).flat());
  }

  /** Who may send messages, as trust/keys.json says now. Returns what the messages that came before come to. */
  async trust(messengers: readonly DsseVerifier[]): Promise<readonly Verdict[]> {
    this.#messengers = messengers;
    const early = this.#early.splice(0);
    const verdicts: Verdict[] = [];
    for (const bytes of early) verdicts.push(await this.take(bytes));
    return verdicts;
  }

  /** Judges one message, however it came. Errors: `disk/*`; then it has had no effect, and counts when it comes again. */
  take(bytes: Uint8Array): Promise<Verdict> {
    const run = this.#turn.then(() => this.#judge(bytes));
    this.#turn = run.catch(() => undefined);
    return run;
  }

  /** A wake-up that nobody signed, where they are to be signed. */
  unsealed(): void {
    this.#state = withDrop(this.#state, "unsealed");
  }

  /**
   * What waits and may be followed now; it is spent by this call. `idle`: nothing else goes on, on this machine. `start`: the agent starts.
   * Errors: `disk/*`.
   */
  due(moment: { readonly idle: boolean; readonly start: boolean }): Promise<readonly MessageAsk[]> {
    const run = this.#turn.then(() => this.#takeDue(moment));
    this.#turn = run.catch(() => undefined);
    return run;
  }

  /** A check was made, for whatever reason: what messages asked of one is done. Errors: `disk/*`. */
  async checked(): Promise<void> {
    const { "update-check": update, "refresh-trust": trust, ...pending } = this.#state.pending;
    if (update === undefined && trust === undefined) return;
    await this.#save({ ...this.#state, pending });
  }

  /** Writes what was counted since; cheap when nothing was. Errors: `disk/*`. */
  async flush(): Promise<void> {
    if (this.#state !== this.#saved) await this.#save(this.#state);
  }

  /** The order of facts: cheap before expensive, and nothing has an effect before it is on the disk that it counts. */
  async #judge(bytes: Uint8Array): Promise<Verdict> {
    const { clock } = this.#parts.world;
    // 1. The form: size, magic, version, suite.
    const header = readHeader(bytes);
    if (header === null) return this.#drop("wrong-form");
    // 2. For a key of this device.
    const key = this.#parts.keys.find(header.key);
    if (key === null) return this.#drop("other-key");
    // 3. Not the very bytes that came lately.
    const digest = sha256Hex(bytes);
    if (this.#seen.has(digest)) return this.#drop("seen");
    if (this.#messengers === null) return this.#keepEarly(bytes);
    // 4. Work for strangers is bounded, and what it takes is given back to those who prove to be none.
    const tried = tryOne(this.#state.unread, clock.now());
    if (tried === null) return this.#drop("unread");
    this.#state = { ...this.#state, unread: tried };
    this.#remember(digest);
    // 5. and 6. Opens whole or not at all; strictly padded.
    const { privateKey } = key;
    const unsealed = unseal(bytes, { privateKey, fleet: this.#parts.fleet });
    if (typeof unsealed === "string") return this.#drop(unsealed);
    // 7. Signed by a messenger that signed metadata names now.
    const signer = signerOf(unsealed, this.#messengers);
    if (signer === null) return this.#drop("unknown-signer");
    this.#state = { ...this.#state, unread: refund(this.#state.unread) };
    // 8. Says what can be said, to this device and for this key, in the name of who signed it.
    const body = bodyOf(unsealed);
    if (body === null) return this.#drop("bad-body");
    if (body.to !== this.#parts.device || body.key !== header.key || body.from !== signer.keyid)
      return this.#drop("other-device");
    // 9. In time, by what this device can know of it.
    const counted = this.#state.counted[body.from] ?? [];
    const proven = await this.#parts.provenTime();
    const now = Math.max(clock.now(), proven ?? 0);
    const newer = counted.every((one) => one < body.counter);
    const fault = judgeTimes(body, now, newer);
    if (fault !== null) return this.#drop(fault);
    // 10. Counts once.
    if (isOld(counted, body.counter)) return this.#drop("replayed");
    // 11. Within its budget, or later; on the disk before it has an effect.
    return this.#accept(body);
  }

  async #accept(body: MessageBody): Promise<Verdict> {
    const now = this.#parts.world.clock.now();
    const ask = askOf(body);
    const state: MailboxState = {
      ...this.#state,
      counted: withNumber(this.#state.counted, body.from, body.counter),
      accepted: this.#state.accepted + 1,
      timestamp: Math.max(this.#state.timestamp, body.timestamp ?? 0),
    };
    const later = ask.kind === "update-check" && ask.when !== "now";
    const spent = spend(body.kind, state.effects[body.kind] ?? [], now);
    if (!later && spent.granted) {
      await this.#save({ ...state, effects: { ...state.effects, [body.kind]: [...spent.effects] } });
      this.#parts.keys.used(body.key);
      return { verdict: "do", ask };
    }
    const pending = joinPending(state.pending[body.kind], pendingOf(ask, now));
    await this.#save({
      ...state,
      coalesced: state.coalesced + (later ? 0 : 1),
      pending: { ...state.pending, [body.kind]: { ...pending } },
    });
    this.#parts.keys.used(body.key);
    return { verdict: "kept", ask, why: later ? "later" : "budget" };
  }

  async #takeDue({
    idle,
    start,
  }: {
    readonly idle: boolean;
    readonly start: boolean;
  }): Promise<readonly MessageAsk[]> {
    const now = this.#parts.world.clock.now();
    const asks: MessageAsk[] = [];
    let state = this.#state;
    for (const kind of MESSAGE_KINDS) {
      const pending = state.pending[kind];
      if (pending === undefined || !isTime(pending, idle, start)) continue;
      const spent = spend(kind, state.effects[kind] ?? [], now);
      if (!spent.granted) continue;
      const { [kind]: _done, ...rest } = state.pending;
      state = { ...state, pending: rest, effects: { ...state.effects, [kind]: [...spent.effects] } };
      asks.push(kind === "update-check" ? { kind, when: "now", splay: pending.splay } : { kind });
    }
    if (state !== this.#state) await this.#save(state);
    return asks;
  }

  #drop(why: Drop): Verdict {
    this.#state = withDrop(this.#state, why);
    return { verdict: "dropped", why };
  }

  #keepEarly(bytes: Uint8Array): Verdict {
    // The newest are kept: whatever is lost here, the first check that is about to be made stands for it.
    if (this.#early.length >= EARLY) this.#early.shift();
    this.#early.push(bytes);
    return { verdict: "early" };
  }

  #remember(digest: string): void {
    this.#seen.add(digest);
    if (this.#seen.size > SEEN) this.#seen.delete(this.#seen.values().next().value!);
  }

  async #save(state: MailboxState): Promise<void> {
    await saveMailbox(this.#parts.world.disk, this.#parts.folder, state);
    this.#state = this.#saved = state;
  }
}

/** `ask` needs somebody to ask: where nobody sits, it waits for the next start, as `next-start` does. */
function isTime({ when }: Pending, idle: boolean, start: boolean): boolean {
  switch (when) {
    case "now":
      return true;
    case "idle":
      return idle || start;
    case "next-start":
    case "ask":
      return start;
  }
}

function askOf(body: MessageBody): MessageAsk {
  if (body.kind !== "update-check") return { kind: body.kind };
  const { kind, when, splay } = body;
  return { kind, when, ...(splay === undefined ? {} : { splay }) };
}

function pendingOf(ask: MessageAsk, since: Instant): Pending {
  return ask.kind === "update-check"
    ? { when: ask.when, splay: ask.splay ?? 0, since }
    : { when: "now", splay: 0, since };
}

/** Null for what no messenger may say. */
function bodyOf({ body }: Unsealed): MessageBody | null {
  try {
    return readBody(body);
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    return null;
  }
}

/** Errors: `disk/*`. */
export async function openMailbox(parts: MailboxParts): Promise<Mailbox> {
  return new Mailbox(parts, await loadMailbox(parts.world.disk, parts.folder));
}
