// When a signer may write its log: at once, after another one has gone, or when its database is there again.

import type { Clock } from "../../core/clock.ts";
import type { Disk } from "../../core/disk.ts";
import { SECOND } from "../../core/instant.ts";
import { SigningError } from "../../signing/errors.ts";
import type { Log } from "../../signing/ports.ts";
import type { Settings } from "../../signing/service.ts";
import { writeHome, type LogHome } from "./log-home.ts";
import type { SignerFolder } from "./settings.ts";

/** What `signer status` is told of a signer that does not sign yet. */
export type Standing =
  | { readonly state: "starting" }
  | { readonly state: "waiting"; readonly holder: string; readonly since: string }
  | { readonly state: "no-database"; readonly what: string };

const AGAIN = SECOND;

/**
 * Resolves when this signer alone may write; until then it holds nothing. `patient`: a database that is not there is waited for, and else
 * refused. `lost` is called at most once, after this. Errors: those of `writeHome`.
 */
export async function takeTurn(given: {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly folder: SignerFolder;
  readonly settings: Settings;
  readonly patient: boolean;
  readonly say: Log;
  readonly stand: (standing: Standing) => void;
  readonly lost: (error: Error) => void;
}): Promise<LogHome> {
  const { disk, clock, folder, settings, say, stand, lost } = given;
  const signer = settings.config.service.name;
  for (let said = ""; ;) {
    try {
      return await writeHome(disk, folder, settings, {
        clock,
        lost,
        waiting: ({ holder, since }) => {
          say("info", "waits-for-log", { signer, holder, since });
          stand({ state: "waiting", holder, since });
        },
      });
    } catch (error) {
      const away = error instanceof SigningError && error.code === "signing/store-unavailable";
      if (!away || !given.patient) throw error;
      if (said !== error.message) say("warn", "waits-for-database", { what: error.message });
      said = error.message;
      stand({ state: "no-database", what: error.message });
      await clock.sleep(AGAIN);
    }
  }
}
