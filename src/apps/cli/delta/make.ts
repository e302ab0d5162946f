// What `delta make` does.

import { resolve } from "node:path";
import { parentOf } from "../../../core/disk.ts";
import { isAlgorithm } from "../../../delta/algorithms.ts";
import { makePatch } from "../../../io/delta/make-patch.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { size } from "../../framework/style.ts";
import { checkFree, findWhole } from "./files.ts";

export async function deltaMake(call: Call): Promise<Result> {
  const { disk, signal } = call.context;
  const [old, target, to] = [call.argument(0), call.argument(1), call.argument(2)];
  const algorithm = call.text("algorithm") ?? "hd1";
  if (!isAlgorithm(algorithm)) throw usage(`There is no algorithm "${algorithm.slice(0, 40)}".`);
  const from = await findWhole(disk, old);
  const { path: into, size: length } = await findWhole(disk, target);
  await checkFree(disk, to);
  const bar = call.context.progress("comparing", length);
  let seen = 0;
  const out = resolve(to);
  const made = await makePatch(
    { algorithm, from: from.path, to: into, out: `${out}.part` },
    {
      signal,
      onProgress: (bytes) => {
        bar.advance(bytes - seen);
        seen = bytes;
      },
    },
  ).finally(() => bar.done());
  await disk.rename(`${out}.part`, out);
  await disk.syncDirectory(parentOf(out));
  const share = length === 0 ? "" : `, ${((made * 100) / length).toFixed(2)} % of the new file`;
  return {
    text: `${to}: ${size(made)}${share}`,
    json: { algorithm, patch: to, length: made, newLength: length },
  };
}
