// What `delta make` does.

import { isAlgorithm } from "../../../delta/algorithms.ts";
import { makePatch } from "../../../io/delta/make-patch.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { size } from "../../framework/style.ts";
import { checkFree, findWhole, writeNew } from "./files.ts";

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
  const patch = await makePatch(
    { algorithm, from: from.path, to: into },
    {
      signal,
      onProgress: (bytes) => {
        bar.advance(bytes - seen);
        seen = bytes;
      },
    },
  ).finally(() => bar.done());
  await writeNew(disk, to, [patch]);
  const share = length === 0 ? "" : `, ${((patch.length * 100) / length).toFixed(2)} % of the new file`;
  return {
    text: `${to}: ${size(patch.length)}${share}`,
    json: { algorithm, patch: to, length: patch.length, newLength: length },
  };
}
