// What `delta apply` does.

import { sha256Hex } from "../../../core/digest.ts";
import { algorithmOf, recognizeAlgorithm } from "../../../delta/algorithms.ts";
import { DeltaError } from "../../../delta/errors.ts";
import { MAX_FILE, readHeader } from "../../../delta/hd1-format.ts";
import type { Expected } from "../../../delta/hd1.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { size } from "../../framework/style.ts";
import { checkFree, readWhole, writeNew } from "./files.ts";

export async function deltaApply(call: Call): Promise<Result> {
  const { disk } = call.context;
  const [old, patch] = [await readWhole(disk, call.argument(0)), await readWhole(disk, call.argument(1))];
  const to = call.argument(2);
  await checkFree(disk, to);
  const algorithm = recognizeAlgorithm(patch);
  if (algorithm === null)
    throw new DeltaError("delta/malformed", "The file does not begin as a patch of any known algorithm.");
  const expected = algorithm === "hd1" ? expectedOf(call, old, patch) : wantedOf(call);
  const length = await writeNew(disk, to, algorithmOf(algorithm).apply(old, patch, expected));
  return {
    text: `${to}: ${size(length)}, SHA-256 ${expected.sha256}`,
    json: { algorithm, file: to, length, sha256: expected.sha256 },
  };
}

/** What the patch says it is for, if that is what was asked. */
function expectedOf(call: Call, old: Uint8Array, patch: Uint8Array): Expected {
  const header = readHeader(patch);
  const found = sha256Hex(old);
  if (header.from !== found) {
    throw new DeltaError(
      "delta/wrong-base",
      `The patch is for an old file with another content (SHA-256 ${header.from}).`,
      { expected: header.from, found },
    );
  }
  return {
    length: call.whole("length", 0, MAX_FILE) ?? header.newLength,
    sha256: call.text("sha256") ?? header.to,
  };
}

function wantedOf(call: Call): Expected {
  const [length, sha256] = [call.whole("length", 0, MAX_FILE), call.text("sha256")];
  if (length === undefined || sha256 === undefined) {
    throw usage(
      "A patch by zstd does not name the file that it makes.",
      "Say what is wanted: --length BYTES --sha256 DIGEST.",
    );
  }
  return { length, sha256 };
}
