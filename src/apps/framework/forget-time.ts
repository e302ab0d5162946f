// What `agent forget-time` and `repo forget-time` do: a person says that the remembered time is wrong.

import { formatInstant } from "../../core/instant.ts";
import type { Clock } from "../../core/clock.ts";
import type { MetadataStore } from "../../repository/client/store.ts";
import type { Result } from "./command.ts";

/** `who` remembers: "this device", for example. Errors: `repository/locked`, `disk/*`. */
export async function forgetTime(
  store: Pick<MetadataStore, "lock" | "loadKnownTime" | "forgetKnownTime">,
  clock: Clock,
  who: string,
): Promise<Result> {
  const release = await store.lock();
  try {
    const known = await store.loadKnownTime();
    const now = formatInstant(clock.now());
    if (known === null)
      return { text: `Nothing was remembered of time by ${who}.`, json: { forgotten: null, clock: now } };
    await store.forgetKnownTime();
    const forgotten = formatInstant(known.time);
    return {
      text: [
        `${who} no longer remembers that ${forgotten} has passed (its clock says ${now}).`,
        `What that gives up: until the next refresh that succeeds, metadata that ended before ${forgotten} counts as current if the clock says so;`,
        "an attacker who sets the clock back and withholds news can keep it at what it has. Numbers of versions still only go up.",
      ].join("\n"),
      json: { forgotten, underTimestamp: known.versions.timestamp, clock: now },
    };
  } finally {
    await release();
  }
}
