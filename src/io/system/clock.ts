// The real clock.

import { setTimeout as delay } from "node:timers/promises";
import type { Clock } from "../../core/clock.ts";

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: async (ms, signal) => {
    try {
      await delay(ms, undefined, signal === undefined ? {} : { signal });
    } catch (error) {
      // Node wraps the reason in an error of its own; the port promises the reason itself.
      throw signal?.aborted === true ? signal.reason : error;
    }
  },
};
