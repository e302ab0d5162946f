// Changes of the repository in the operator's audit log: the same log as the fleet's, written before a change takes effect.

import { statOrNull } from "../../../core/disk.ts";
import { FleetError } from "../../../fleet/errors.ts";
import type { FleetRecords } from "../../../fleet/store.ts";
import type { PublisherAudit } from "../../../repository/publish/publisher.ts";
import type { Call } from "../../framework/command.ts";

/**
 * Writes down what a change does. A data folder without records gets some: the log begins with the repository, whether a server follows
 * or not. Errors: `fleet/store-*`, `disk/*`; then nothing is published.
 */
export function auditOf(call: Call): PublisherAudit {
  const { context } = call;
  const store = () => import("../records/open-store.ts");
  return {
    ready: async () => {
      if (!(await store()).isShared(call)) await refuseLostRecords(call);
    },
    write: async (traces) => {
      const { actor, withFleet } = await store();
      const { appendAudit } = await import("../../../fleet/audit.ts");
      const who = actor();
      const append = async (records: FleetRecords): Promise<void> => {
        for (const { action, subject, facts } of traces)
          await appendAudit(records, context.clock.now(), { actor: who, action, subject, facts });
      };
      // The first change of all is the one that begins a data folder.
      await withFleet(call, append, true);
    },
  };
}

/** A server has been here and its records are gone: an empty log in their place would hide that. Throws `fleet/store-missing`. */
async function refuseLostRecords({ context }: Call): Promise<void> {
  const { disk, data } = context;
  if ((await statOrNull(disk, `${data}/server/upkeep.sqlite`)) !== null) return;
  if ((await statOrNull(disk, `${data}/server/tls`)) === null) return;
  throw new FleetError(
    "fleet/store-missing",
    `A server keeps its authorities in ${data}/server, and its records are not there: what is changed could not be written into its audit log.`,
    { folder: `${data}/server` },
    {
      hint: "Restore server/upkeep.sqlite from a backup, or name the database with --store. Nothing was changed.",
    },
  );
}
