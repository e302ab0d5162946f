// What commands ask of whoever keeps the administrators' book: the running signer over its control socket, or the command itself.

import type { Clock } from "../../core/clock.ts";
import { toUtf8 } from "../../core/bytes.ts";
import { readOrNull, writeAtomic, type Disk } from "../../core/disk.ts";
import type { Json } from "../../core/json.ts";
import type { Random } from "../../core/random.ts";
import { checkSchema, nameSchema, sha256Schema, z } from "../../core/schema.ts";
import {
  AdminDesk,
  MAX_ADMINS_FILE,
  NO_ADMINS,
  parseAdminsFile,
  wholeHash,
  type AdminLedger,
  type AdminPorts,
  type AdminsFile,
} from "../../signing/policy/admins.ts";
import { SigningError } from "../../signing/errors.ts";
import { loadSettings, type SignerFolder } from "./settings.ts";

const code = z.string().check(z.maxLength(64));
const by = z.optional(z.strictObject({ admin: nameSchema, code }));
const requestSchema = z.discriminatedUnion("ask", [
  z.strictObject({ ask: z.literal("list") }),
  z.strictObject({ ask: z.literal("add"), name: nameSchema, by }),
  z.strictObject({ ask: z.literal("remove"), name: nameSchema, by }),
  z.strictObject({
    ask: z.literal("accept"),
    /** What the administrator has before him; it must be what lies there. */
    config: sha256Schema,
    /** What a command changed: if that was not accepted itself, more than the command's change would be accepted with it. */
    base: z.optional(sha256Schema),
    by: z.strictObject({ admin: nameSchema, code }),
  }),
]);
export type AdminRequest = z.infer<typeof requestSchema>;

export async function readAdmins(disk: Disk, folder: SignerFolder): Promise<AdminsFile> {
  const bytes = await readOrNull(disk, folder.admins, MAX_ADMINS_FILE);
  return bytes === null ? NO_ADMINS : parseAdminsFile(bytes);
}

export function adminDesk(given: {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly folder: SignerFolder;
  readonly ledger: AdminLedger;
  readonly key: Uint8Array;
  readonly signer: string;
  readonly record: AdminPorts["record"];
}): AdminDesk {
  const { disk, folder } = given;
  return new AdminDesk({
    ...given,
    read: () => readAdmins(disk, folder),
    write: (file) => writeAtomic(disk, folder.admins, toUtf8(`${JSON.stringify(file)}\n`), 0o600),
  });
}

/** Answers one request. Errors: those of `AdminDesk`, `signing/not-accepted` when the files are not what was asked about. */
export async function answerAdmin(
  desk: AdminDesk,
  ledger: AdminLedger,
  given: { readonly disk: Disk; readonly folder: SignerFolder; readonly inForce: () => string },
  raw: Json,
): Promise<Json> {
  const request = checkSchema(requestSchema, raw, "request");
  switch (request.ask) {
    case "list":
      return { admins: [...ledger.names], config: given.inForce() };
    case "add":
      return { ...(await desk.add(request.name, given.inForce(), request.by ?? null)) };
    case "remove":
      await desk.remove(request.name, request.by ?? null);
      return {};
    case "accept": {
      const found = wholeHash(await loadSettings(given.disk, given.folder));
      if (found !== request.config) throw changedMeanwhile(found);
      if (ledger.names.length === 0)
        throw new SigningError(
          "signing/not-found",
          "There is no administrator: every valid configuration takes effect at once.",
        );
      if (request.base !== undefined && !ledger.allows(request.base)) {
        throw new SigningError(
          "signing/not-accepted",
          "An earlier change of the same files was never accepted; nothing was done.",
          { config: request.base },
          {
            hint: 'Read signer.toml and the certificates. Undo what is not yours; then "upkeep signer accept --admin NAME".',
          },
        );
      }
      await desk.accept(request.config, request.by);
      return { config: request.config };
    }
  }
}

export function changedMeanwhile(config: string): SigningError {
  return new SigningError(
    "signing/not-accepted",
    "The configuration changed while it was being accepted; look at it again.",
    { config },
  );
}
