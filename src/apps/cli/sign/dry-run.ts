// `sign --dry-run`: the digest that would be signed, by the format's own rules, without a key and without a change.

import { resolve } from "node:path";
import { toHex } from "../../../core/bytes.ts";
import type { SigningHash } from "../../../artifact/cms-build.ts";
import { formatOf } from "../../../artifact/formats.ts";
import { withFileSource } from "../../../io/source/file.ts";
import type { Call, Result } from "../../framework/command.ts";
import { signOptions } from "../files/format-options.ts";
import { expandFiles, forEachFile } from "../files/many-files.ts";
import { toBeSigned } from "../files/to-be-signed.ts";

export async function drySign(call: Call): Promise<Result> {
  const hash = (call.text("hash") ?? "sha256") as SigningHash;
  return forEachFile(call, expandFiles(call.argumentsFrom(0)), (file) =>
    withFileSource(resolve(file), async (source) => {
      const format = await formatOf(source, file);
      const signed = await format.isSigned(source);
      const what = await toBeSigned(format, source, {
        mode: signed ? "replace" : "new",
        hash,
        ...(call.flag("page-hashes") ? { pageHashes: "sha256" } : {}),
        options: signOptions(call),
      });
      const digest = "digest" in what ? toHex(what.digest) : null;
      return {
        text: `${call.context.style.faint("-")} ${file}: ${format.title}${signed ? ", signed already" : ""}, ${digest === null ? "would be signed" : `${hash} ${digest}`}`,
        json: {
          file,
          ok: true,
          status: "dry-run",
          format: format.name,
          signed,
          hash,
          digest,
          ...(what.kind === "authenticode" ? { indirectData: toHex(what.indirectData) } : {}),
        },
      };
    }),
  );
}
