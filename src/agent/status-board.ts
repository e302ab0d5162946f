// What the agent is doing, as `agent status` and the file status.json tell it.

import { toUtf8 } from "../core/bytes.ts";
import { writeAtomic } from "../core/disk.ts";
import { formatInstant, type Instant } from "../core/instant.ts";
import type { Component } from "./component.ts";
import { sentenceOf } from "./errors.ts";
import type { Wait } from "./manners.ts";
import type { DeviceIdentity, Notice, World } from "./ports.ts";
import type { MessagesStatus } from "./post.ts";
import { componentStatus, type CheckStatus, type ComponentStatus, type Status } from "./status.ts";
import type { ComponentResult } from "./update-component.ts";

export type BoardOwner = {
  readonly world: World;
  readonly folder: string;
  readonly identity: DeviceIdentity;
  readonly pid: number;
};

export type Shown = {
  readonly components: () => readonly Component[];
  readonly notices: () => readonly Notice[];
  readonly reportsWaiting: () => number;
  /** Null for an agent that opens no messages. */
  readonly messages?: () => MessagesStatus | null;
  /** By which rule the update of a product waits; null if none does. */
  readonly wait: (product: string) => Wait | null;
};

export class StatusBoard {
  readonly #agent: BoardOwner;
  readonly #shown: Shown;
  readonly #results = new Map<string, ComponentResult>();
  readonly #progress = new Map<string, ComponentStatus["attempt"]>();
  #waiting: { readonly why: string; readonly until: Instant } | null = null;
  #writing: Promise<void> = Promise.resolve();
  lastCheck: CheckStatus | null = null;
  doing: Status["doing"] = "starting";
  wakeUps: Status["wakeUps"] = "disconnected";

  constructor(agent: BoardOwner, shown: Shown) {
    this.#agent = agent;
    this.#shown = shown;
  }

  /** What came of a component; the next result takes its place. */
  done(result: ComponentResult): void {
    this.#results.set(result.product, result);
  }

  /** How far an attempt is; written when its state changes. */
  progress(product: string, at: NonNullable<ComponentStatus["attempt"]>): void {
    const before = this.#progress.get(product);
    if (at.state === "done" || at.state === "waiting") this.#progress.delete(product);
    else this.#progress.set(product, at);
    if (before?.state !== at.state) void this.write();
  }

  wait(why: string, until: Instant): void {
    this.#waiting = { why, until };
    void this.write();
  }

  async status(): Promise<Status> {
    const { world, identity, pid } = this.#agent;
    const components: ComponentStatus[] = [];
    for (const component of this.#shown.components())
      components.push(
        await componentStatus(
          component,
          this.#results.get(component.product) ?? null,
          this.#progress.get(component.product) ?? null,
          this.#shown.wait(component.product),
        ),
      );
    const waits = this.doing === "waiting" ? this.#waiting : null;
    return {
      format: 1,
      written: formatInstant(world.clock.now()),
      pid,
      device: identity.device,
      doing: this.doing,
      why: waits?.why ?? null,
      until: waits === null ? null : formatInstant(waits.until),
      lastCheck: this.lastCheck,
      notices: this.#shown.notices(),
      wakeUps: this.wakeUps,
      reportsWaiting: this.#shown.reportsWaiting(),
      ...messagesOf(this.#shown.messages?.() ?? null),
      components,
    };
  }

  /** A disk that cannot take the status keeps nobody from anything. */
  write(): Promise<void> {
    const write = async (): Promise<void> => {
      const { disk } = this.#agent.world;
      const bytes = toUtf8(`${JSON.stringify(await this.status(), null, 1)}\n`);
      await writeAtomic(disk, `${this.#agent.folder}/status.json`, bytes, 0o644);
    };
    this.#writing = this.#writing.then(write).catch((error: unknown) => {
      this.#agent.world.log({ level: "warn", event: "status-not-written", message: sentenceOf(error) });
    });
    return this.#writing;
  }
}

/** Of an agent that opens messages. */
function messagesOf(messages: MessagesStatus | null): Pick<Status, "messages"> {
  if (messages === null) return {};
  const waiting = messages.waiting.map((one) => ({ ...one, since: formatInstant(one.since) }));
  return { messages: { ...messages, waiting } };
}
