// What the deciding process keeps: the audit log, and the ledger and the administrators that are read from it.

import type { Clock } from "../../core/clock.ts";
import { fromBase64, fromUtf8 } from "../../core/bytes.ts";
import { SECOND } from "../../core/instant.ts";
import { LOG_KEY } from "./settings.ts";
import type { LogHome } from "./log-home.ts";
import type { FrontOrder } from "./order.ts";
import type { KeyProcesses } from "../../io/keys/key-process.ts";
import { parseCheckpointText } from "../../signing/audit/checkpoint.ts";
import type { Blob } from "../../signing/audit/entry.ts";
import { blobPath } from "../../signing/audit/files.ts";
import { AuditLog } from "../../signing/audit/log.ts";
import { resumeLedger, SnapshotWriter } from "../../signing/audit/ledger-snapshot.ts";
import type { NoteKey } from "../../signing/audit/note.ts";
import { purposeKey } from "../../signing/custody/custody.ts";
import { AdminLedger } from "../../signing/policy/admins.ts";
import type { Log } from "../../signing/ports.ts";

/** A start reads some 100,000 entries a second: this many are not worth a snapshot. */
export const SNAPSHOT_EVERY = 50_000;
/** At a stop. */
export const STOP_SNAPSHOT = 5000;
const BETWEEN_PARTS = SECOND / 50;

export type Records = Awaited<ReturnType<typeof openRecords>>;

/** `gather`: resolves when the next checkpoint is due. Errors: those of `AuditLog.open`. */
export async function openRecords(given: {
  readonly home: LogHome;
  readonly clock: Clock;
  readonly logKey: NoteKey;
  readonly keys: KeyProcesses;
  readonly order: FrontOrder;
  readonly gather: () => Promise<void>;
  readonly say: Log;
}) {
  const { home, clock, logKey, keys, order, say } = given;
  const { log, dropped } = await AuditLog.open({
    disk: home.files,
    clock,
    folder: home.folder,
    key: logKey,
    sign: (message) => {
      const { size } = parseCheckpointText(fromUtf8(message));
      return keys.sign(keys.issue(LOG_KEY, "ed25519", message, size), message);
    },
    gather: given.gather,
  });
  const snapshots = {
    disk: home.files,
    folder: home.folder,
    origin: logKey.name,
    key: purposeKey(fromBase64(order.sealKey), "ledger v1"),
  };
  const admins = new AdminLedger(fromBase64(order.adminKey));
  const { ledger, replayed, refused } = await resumeLedger(snapshots, log, admins);
  // In step with what is durable, like the ledger, so that a snapshot never misses one.
  log.follow((entry) => admins.apply(entry));
  if (refused !== undefined) say("warn", "snapshot-refused", { what: refused });
  const snapshot = new SnapshotWriter(snapshots, log, { ledger, admins }, log.size - replayed);
  return {
    log,
    ledger,
    admins,
    dropped,
    replayed,
    readBlob: async (blob: Blob): Promise<Uint8Array> =>
      blob.inline === undefined
        ? home.files.read(blobPath(home.folder, blob.sha256), blob.length)
        : fromBase64(blob.inline),
    /** Writes one if it is `behind` so many entries. */
    keepSnapshot: async (behind: number): Promise<void> => {
      if (snapshot.behind < behind) return;
      try {
        await snapshot.write(() => clock.sleep(BETWEEN_PARTS));
      } catch (error) {
        // It only makes a start slower; a disk that cannot be written stops the log itself.
        say("warn", "snapshot-failed", { what: String((error as Error).message) });
      }
    },
  };
}
