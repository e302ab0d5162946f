// Tells people: alarms and notices, each once as long as it lasts, and sends what waits in the outbox.

import { UpkeepError } from "../core/errors.ts";
import type { EventLog } from "../history/event-log.ts";
import { sentenceOf } from "./errors.ts";
import type { Outbox } from "./outbox.ts";
import type { Notice, UpdateServer, World } from "./ports.ts";

export class Teller {
  readonly #world: World;
  readonly #server: UpdateServer;
  readonly #outbox: Outbox;
  readonly #signal: AbortSignal;
  readonly #history: EventLog;
  #notices: readonly Notice[] = [];

  constructor(world: World, server: UpdateServer, outbox: Outbox, signal: AbortSignal, history: EventLog) {
    this.#history = history;
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
    const about = { code, reason: reason.slice(0, 1000), ...(product === null ? {} : { product }) };
    let raised: string | null = null;
    try {
      await this.#outbox.alarm(key, (fields, since) => {
        raised = since;
        return { ...fields, kind: "alarm", since, ...about };
      });
      if (raised !== null) await this.#history.add({ at: raised, event: "alarm", ...about });
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
      this.#world.log({ level: "error", event: "alarm-lost", code, message: sentenceOf(error) });
    }
  }
}
