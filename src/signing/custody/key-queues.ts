// One fair queue for each key, made when it is first needed.

import type { Clock } from "../../core/clock.ts";
import type { SignerConfig } from "../policy/config.ts";
import type { KeyRing, Log } from "../ports.ts";
import { FairQueue } from "./queue.ts";

type QueuePorts = { readonly clock: Clock; readonly keys: Pick<KeyRing, "replace">; readonly say: Log };

export class KeyQueues {
  readonly #ports: QueuePorts;
  readonly #config: () => SignerConfig;
  readonly #queues = new Map<string, FairQueue>();

  constructor(ports: QueuePorts, config: () => SignerConfig) {
    this.#ports = ports;
    this.#config = config;
  }

  of(key: string): FairQueue {
    const known = this.#queues.get(key);
    if (known !== undefined) return known;
    const { service, keys } = this.#config();
    const queue = new FairQueue({
      name: key,
      clock: this.#ports.clock,
      limit: service.queue,
      parallel: keys[key]!.parallel,
      timeout: service["key-timeout-seconds"] * 1000,
      stuck: () => {
        this.#ports.say("error", "key-stuck", { key });
        this.#ports.keys.replace(key);
      },
    });
    this.#queues.set(key, queue);
    return queue;
  }

  /** Whether every key for which there is work has at least so many messages at hand. */
  fed(least: number): boolean {
    for (const queue of this.#queues.values()) if (queue.length > 0 && queue.atKey < least) return false;
    return true;
  }

  /** After a change of the configuration, whose limits hold from the next request on. */
  clear(): void {
    this.#queues.clear();
  }
}
