// The process that makes one patch: reads both files, computes, writes, and ends. It also ends when its parent is gone.

import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from "node:fs";
import { algorithmOf } from "../../delta/algorithms.ts";
import { DeltaError } from "../../delta/errors.ts";
import type { PatchNews, PatchOrder } from "./patch-order.ts";

const say = (news: PatchNews): boolean | undefined => process.send?.(news);

process.once("message", (order: PatchOrder) => {
  try {
    make(order);
  } catch (error) {
    if (error instanceof DeltaError) say({ kind: "refused", code: error.code, message: error.message });
    else say({ kind: "failed", message: error instanceof Error ? error.message : String(error) });
  }
  process.disconnect();
});
process.on("disconnect", () => process.exit(0));

function make(order: PatchOrder): void {
  const [old, target] = [readFileSync(order.from), readFileSync(order.to)];
  const patch = algorithmOf(order.algorithm).make(old, target, (bytes) => say({ kind: "progress", bytes }));
  const file = openSync(order.out, "wx", 0o644);
  try {
    for (let at = 0; at < patch.length;) at += writeSync(file, patch, at);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  say({ kind: "made", length: patch.length });
}
