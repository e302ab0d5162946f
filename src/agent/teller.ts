// Tells people: alarms and notices, each once as long as it lasts, and sends what waits in the outbox.

import { UpkeepError } from "../core/errors.ts";
import { sentenceOf } from "./errors.ts";
import type { Outbox } from "./outbox.ts";
import type { Notice, UpdateServer, World } from "./ports.ts";

export class Teller {
  readonly #world: World;
  readonly #server: UpdateServer;
  readonly #outbox: Outbox;
  readonly #signal: AbortSignal;
  #notices: readonly Notice[] = [];

  constructor(world: World, server: UpdateServer, outbox: Outbox, signal: AbortSignal) {
    this.#world = world;
    this.#server = server;
    this.#outbox = outbox;
    this.#signal = signal;
  }

  /** What the last refresh of the repository noticed. */
  get notices(): readonly Notice[] {
    return this.#notices;
  }

  /** Sends what waits, if the server can be reached. */
  async flush(): Promise<void> {
    try {
      await this.#outbox.send((envelopes) => this.#server.sendReports(envelopes, this.#signal));
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
      this.#world.log({
        level: "warn",
        event: "reports-wait",
        waiting: this.#outbox.waiting,
        code: error.code,
        message: sentenceOf(error),
      });
    }
  }

  /** What does not stop a check is shown in the status as long as it lasts, and told once. */
  async notice(notices: readonly Notice[]): Promise<void> {
    const keyOf = ({ code, about }: Notice): string => `notice ${code} ${about}`;
    const known = new Set(this.#notices.map(keyOf));
    for (const one of notices) {
      if (known.has(keyOf(one))) continue;
      const { code, about, message } = one;
      this.#world.log({ level: "warn", event: "notice", code, about, message });
    }
    this.#notices = notices;
    const alarms = notices.filter(({ alarm }) => alarm);
    await this.#outbox.clear("notice ", alarms.map(keyOf));
    for (const one of alarms) await this.alarm(keyOf(one), one.code, one.message, null);
  }

  /** Raises an alarm once until its key is cleared. */
  async alarm(key: string, code: string, reason: string, product: string | null): Promise<void> {
    if (code === "agent/stopping") return;
    try {
      await this.#outbox.alarm(key, (fields, since) => ({
        ...fields,
        kind: "alarm",
        code,
        since,
        reason: reason.slice(0, 1000),
        ...(product === null ? {} : { product }),
      }));
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
      this.#world.log({ level: "error", event: "alarm-lost", code, message: sentenceOf(error) });
    }
  }
}
