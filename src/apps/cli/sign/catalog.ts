// What `catalog` does, and `verify` with a catalog.

import { basename, resolve } from "node:path";
import { toHex } from "../../../core/bytes.ts";
import { statOrNull, writeAtomic } from "../../../core/disk.ts";
import { writeCatalog } from "../../../artifact/cat/catalog.ts";
import { unsignedCatalog } from "../../../artifact/cat/format.ts";
import { memberOf, verifyByCatalog } from "../../../artifact/cat/listed.ts";
import type { FileReport, VerifyPolicy } from "../../../artifact/report.ts";
import { withFileSource } from "../../../io/source/file.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { expandFiles } from "../files/many-files.ts";

export async function makeCatalog(call: Call): Promise<Result> {
  const { disk, random, clock, style } = call.context;
  const output = resolve(call.argument(0));
  const files = expandFiles(call.argumentsFrom(1));
  if (!call.flag("replace") && (await statOrNull(disk, output)) !== null) {
    throw usage(`${output} is there already.`, "--replace writes over it.");
  }
  const members = [];
  for (const file of files) {
    const member = await withFileSource(resolve(file), (source) => memberOf(source, "sha256"));
    members.push({ ...member, name: basename(file) });
  }
  const list = writeCatalog(members, random.bytes(16), clock.now());
  await writeAtomic(disk, output, unsignedCatalog(list));
  return {
    text: [
      style.good(
        `✓ ${call.argument(0)}: ${members.length === 1 ? "1 file" : `${members.length} files`}, not signed yet`,
      ),
      ...members.map(
        ({ name, digest, kind }) => `  ${toHex(digest)} ${name}${kind === "image" ? " (image)" : ""}`,
      ),
    ].join("\n"),
    json: {
      output,
      members: members.map(({ name, digest, kind }) => ({ name, kind, sha256: toHex(digest) })),
    },
  };
}

/** Errors: those of reading the file and the catalog. */
export function verifyInCatalog(file: string, catalog: string, policy: VerifyPolicy): Promise<FileReport> {
  return withFileSource(resolve(file), (source) =>
    withFileSource(resolve(catalog), (list) => verifyByCatalog(source, list, policy)),
  );
}
