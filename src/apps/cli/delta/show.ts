// What `delta show` does.

import { recognizeAlgorithm } from "../../../delta/algorithms.ts";
import { describeHd1 } from "../../../delta/describe.ts";
import { DeltaError } from "../../../delta/errors.ts";
import { STREAMS } from "../../../delta/hd1-format.ts";
import type { Call, Result } from "../../framework/command.ts";
import { columns, size } from "../../framework/style.ts";
import { readWhole } from "./files.ts";

export async function deltaShow(call: Call): Promise<Result> {
  const { disk, width } = call.context;
  const patch = await readWhole(disk, call.argument(0));
  const algorithm = recognizeAlgorithm(patch);
  if (algorithm === null)
    throw new DeltaError("delta/malformed", "The file does not begin as a patch of any known algorithm.");
  if (algorithm === "zstd") {
    return {
      text: `zstd, ${size(patch.length)}; it names neither the old file nor the new one`,
      json: { algorithm, length: patch.length },
    };
  }
  const found = describeHd1(patch);
  const rows = STREAMS.map((name) => [
    name,
    size(found.streams[name].packed),
    `${size(found.streams[name].raw)} unpacked`,
  ]);
  return {
    text: [
      `hd1, ${size(patch.length)} in ${found.sections} section${found.sections === 1 ? "" : "s"}`,
      `from ${size(found.oldLength)}, SHA-256 ${found.from}`,
      `to   ${size(found.newLength)}, SHA-256 ${found.to}`,
      columns(rows, width),
    ].join("\n"),
    json: { algorithm, length: patch.length, ...found },
  };
}
