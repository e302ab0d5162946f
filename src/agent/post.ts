// The post: takes messages from wherever they come, and does the little that a message can ask for.

import { UpkeepError } from "../core/errors.ts";
import { MINUTE } from "../core/instant.ts";
import type { MessageAsk } from "../message/sealed/body.ts";
import type { Correspondence } from "./check.ts";
import { sentenceOf } from "./errors.ts";
import type { Mailbox, Verdict } from "./mailbox.ts";
import { DROPS, type Drop } from "./mailbox-state.ts";
import type { MessageKeys } from "./message-keys.ts";
import type { Notice, World } from "./ports.ts";

/** What the loop lets a message do: end the wait for the next check, now or within some seconds. */
export type Ringing = {
  ring(): void;
  /** At a random moment within so many seconds; null: within the interval of checks. */
  spread(seconds: number | null): void;
};

/** What the post needs of the agent. */
export type PostOwner = {
  readonly world: Pick<World, "log" | "random" | "clock"> & { readonly isIdle?: World["isIdle"] };
  /** Signs and sends what runs here. */
  sendInventory(): Promise<void>;
  /** A probation under way may want to know. */
  nudge(): void;
  renewSoon(): void;
};

/** What `agent status` shows of messages: counts, and never what one said. */
export type MessagesStatus = {
  readonly accepted: number;
  readonly coalesced: number;
  /** Kinds that were accepted and wait, each with when it is followed. */
  readonly waiting: readonly { readonly kind: string; readonly when: string; readonly since: number }[];
  readonly dropped: { readonly [D in Drop]?: number };
};

/** For so long a device may know of news that it cannot read: milliseconds. */
export const BEHIND_AT_LEAST = 10 * MINUTE;

export class Post {
  readonly #owner: PostOwner;
  readonly mailbox: Mailbox;
  readonly keys: MessageKeys;
  #bell: Ringing | null = null;
  /** By the monotonic clock; null while this device can read all that messages spoke of. */
  #behindSince: number | null = null;
  /** Drops by reason, as they were told last. */
  #told: MessagesStatus["dropped"] = {};

  constructor(owner: PostOwner, mail: { readonly mailbox: Mailbox; readonly keys: MessageKeys }) {
    this.#owner = owner;
    this.mailbox = mail.mailbox;
    this.keys = mail.keys;
    this.#told = mail.mailbox.state.dropped;
  }

  /** From now on a message may end the wait for the next check. Errors: `disk/*`. */
  async attach(bell: Ringing): Promise<void> {
    this.#bell = bell;
    await this.#follow({ start: true });
  }

  /** What a check has to do with messages. */
  get correspondence(): Correspondence {
    return {
      statement: () => this.keys.statement(),
      answered: (id) => this.keys.answered(id),
      trust: async (messengers) => {
        for (const verdict of await this.mailbox.trust(messengers)) await this.#act(verdict, false);
      },
    };
  }

  /**
   * One message, however it came. `crowd`: everybody gets it at this moment, as after a server started again. Nothing is ever answered: what
   * comes of it shows in the next check-in.
   */
  async deliver(bytes: Uint8Array, crowd: boolean): Promise<Verdict | null> {
    try {
      const verdict = await this.mailbox.take(bytes);
      await this.#act(verdict, crowd);
      return verdict;
    } catch (error) {
      // A disk that cannot take what must be remembered: the message has had no effect.
      if (!(error instanceof UpkeepError)) throw error;
      this.#log("warn", "message-not-kept", { code: error.code, message: sentenceOf(error) });
      return null;
    }
  }

  /** Every half minute: what may be followed by now, and one line on what was dropped. */
  async round(): Promise<void> {
    await this.#follow({ start: false });
    const { dropped } = this.mailbox.state;
    const fresh = DROPS.flatMap((drop) => {
      const count = (dropped[drop] ?? 0) - (this.#told[drop] ?? 0);
      return count > 0 ? [[drop, count] as const] : [];
    });
    this.#told = dropped;
    if (fresh.length > 0) this.#log("warn", "messages-dropped", { reasons: Object.fromEntries(fresh) });
    await this.#guarded(() => this.mailbox.flush());
  }

  /** A check was made: messages that asked for one are done. `timestamp`: the version of the TUF timestamp that is trusted now. */
  async checked(timestamp: number | null): Promise<readonly Notice[]> {
    await this.#guarded(() => this.mailbox.checked());
    const spoken = this.mailbox.state.timestamp;
    if (timestamp === null || spoken <= timestamp) {
      this.#behindSince = null;
      return [];
    }
    // A message can overtake a check that is under way, and mirrors take their time: only what stays behind is worth an alarm.
    const now = this.#owner.world.clock.monotonic();
    this.#behindSince ??= now;
    if (now - this.#behindSince < BEHIND_AT_LEAST) return [];
    const message = `A signed message spoke of version ${spoken} of the repository's timestamp, and what can be read is version ${timestamp}: a mirror lags behind, or somebody keeps this device from the news (freeze attack).`;
    return [{ code: "message/behind", about: "repository", message, alarm: true }];
  }

  get status(): MessagesStatus {
    const { accepted, coalesced, pending, dropped } = this.mailbox.state;
    const waiting = Object.entries(pending).map(([kind, { when, since }]) => ({ kind, when, since }));
    return { accepted, coalesced, waiting, dropped };
  }

  async #follow({ start }: { readonly start: boolean }): Promise<void> {
    if (this.#bell === null || Object.keys(this.mailbox.state.pending).length === 0) return;
    const idle = (await this.#owner.world.isIdle?.()) ?? true;
    await this.#guarded(async () => {
      for (const ask of await this.mailbox.due({ idle, start })) await this.#do(ask, false);
    });
  }

  async #act(verdict: Verdict, crowd: boolean): Promise<void> {
    if (verdict.verdict === "do") await this.#do(verdict.ask, crowd);
    if (verdict.verdict === "kept")
      this.#log("info", "message-kept", { kind: verdict.ask.kind, why: verdict.why });
  }

  async #do(ask: MessageAsk, crowd: boolean): Promise<void> {
    this.#log("info", "message", { kind: ask.kind });
    switch (ask.kind) {
      case "update-check":
        return this.#check(crowd, ask.splay ?? 0);
      case "report":
        await this.#owner.sendInventory();
        return;
      case "refresh-trust":
        return this.#check(crowd, 0);
      case "rotate-certificate":
        this.#owner.renewSoon();
        this.keys.renewSoon();
        return this.#check(crowd, 0);
    }
  }

  /** The same check as always, sooner. */
  #check(crowd: boolean, splay: number): void {
    this.#owner.nudge();
    if (crowd) this.#bell?.spread(null);
    else if (splay > 0) this.#bell?.spread(splay);
    else this.#bell?.ring();
  }

  async #guarded(action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
      this.#log("warn", "mailbox-trouble", { code: error.code, message: sentenceOf(error) });
    }
  }

  #log(level: "info" | "warn", event: string, facts: { readonly [name: string]: unknown }): void {
    this.#owner.world.log({ level, event, ...facts });
  }
}
