// The thread that makes one patch: reads both files, computes, and ends.

import { readFileSync } from "node:fs";
import { parentPort, workerData } from "node:worker_threads";
import { algorithmOf } from "../../delta/algorithms.ts";
import { DeltaError } from "../../delta/errors.ts";
import type { PatchNews, PatchOrder } from "./patch-order.ts";

const order = workerData as PatchOrder;
const say = (news: PatchNews): void => parentPort?.postMessage(news, []);

try {
  const [old, target] = [readFileSync(order.from), readFileSync(order.to)];
  const patch = algorithmOf(order.algorithm).make(old, target, (bytes) => say({ kind: "progress", bytes }));
  say({ kind: "made", patch });
} catch (error) {
  if (error instanceof DeltaError) say({ kind: "refused", code: error.code, message: error.message });
  else say({ kind: "failed", message: error instanceof Error ? error.message : String(error) });
}
