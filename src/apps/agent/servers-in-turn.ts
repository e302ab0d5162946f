// Several addresses of one server: one is asked until it does not answer, then the next; all prove the same authority.

import { isAway } from "../../agent/follow-alone.ts";
import { UpkeepError } from "../../core/errors.ts";
import type { Place } from "../../io/connection/failure.ts";
import type { ServerClient } from "../../io/device/server-client.ts";
import type { ClientIdentity, ServerIdentity } from "../../io/device/tls.ts";

export type Dial = (server: ServerIdentity, client?: ClientIdentity) => ServerClient;

/**
 * A dialler whose clients go from address to address, and remember where they came to. What a device asks is idempotent: an answer that was lost on the
 * way is given once more. `moved` hears of the address that answered.
 */
export function dialInTurn(places: readonly Place[], dial: Dial, moved: (to: Place) => void): Dial {
  /** Which of them is asked; shared by all clients of a device. */
  let at = 0;
  return (server, identity) => {
    let open: { readonly at: number; readonly client: ServerClient } | null = null;
    const current = (): ServerClient => {
      if (open?.at !== at) {
        open?.client.close();
        open = { at, client: dial({ ...server, ...places[at]! }, identity) };
      }
      return open.client;
    };
    /** True if there is another to ask. */
    const moveOn = (error: unknown): boolean => {
      if (places.length === 1 || !mayHelpElsewhere(error)) return false;
      at = (at + 1) % places.length;
      return true;
    };
    return {
      call: async (name, request, signal) => {
        const begun = at;
        let first: unknown;
        for (;;) {
          try {
            const answer = await current().call(name, request, signal);
            if (at !== begun) moved(places[at]!);
            return answer;
          } catch (error) {
            // What the first one failed by is told when none answers.
            first ??= error;
            if (!moveOn(error) || at === begun) throw first;
          }
        }
      },
      wakes: async function* (after, signal, sealedAfter) {
        try {
          yield* current().wakes(after, signal, sealedAfter);
        } catch (error) {
          moveOn(error);
          throw error;
        }
      },
      close: () => {
        open?.client.close();
        open = null;
      },
    };
  };
}

/** Another address may serve when this one is away, or when somebody stands before it. */
function mayHelpElsewhere(error: unknown): boolean {
  return isAway(error) || (error instanceof UpkeepError && error.code === "server/untrusted");
}
