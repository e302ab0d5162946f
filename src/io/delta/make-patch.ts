// Makes patches in processes of their own: whoever asked goes on, several are made at once, and the memory is given back.

import { fork } from "node:child_process";
import { moduleBeside } from "../../core/module-beside.ts";
import { DeltaError } from "../../delta/errors.ts";
import { partArguments } from "../system/own-part.ts";
import type { PatchNews, PatchOrder } from "./patch-order.ts";

export type MakeOptions = {
  /** How far the new file was looked at. */
  readonly onProgress?: (bytes: number) => void;
  readonly signal?: AbortSignal;
};

/** Holds both files in memory, and about as much again. Returns the length of the patch. Errors: `delta/too-large`, `delta/not-made`. */
export function makePatch(order: PatchOrder, options: MakeOptions = {}): Promise<number> {
  const { onProgress = () => {}, signal } = options;
  return new Promise((resolve, reject) => {
    const notMade = (what: string, cause?: unknown): DeltaError =>
      new DeltaError("delta/not-made", `The patch was not made: ${what}.`, {}, { cause });
    if (signal?.aborted === true) return reject(notMade("it was interrupted"));
    // Secrets in the environment are none of its business.
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !name.startsWith("UPKEEP_")),
    );
    const [first, ...more] = partArguments("patch", moduleBeside("./patch-worker", import.meta.url));
    const child = fork(first!, more, {
      serialization: "advanced",
      env,
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
    const stop = (): void => {
      reject(notMade("it was interrupted"));
      child.kill("SIGKILL");
    };
    signal?.addEventListener("abort", stop, { once: true });
    child.on("message", (news: PatchNews) => {
      if (news.kind === "progress") onProgress(news.bytes);
      else if (news.kind === "made") resolve(news.length);
      else if (news.kind === "refused") reject(new DeltaError(news.code, news.message));
      else reject(notMade(news.message));
    });
    child.on("error", (error) => reject(notMade("its process could not be started", error)));
    // Without memory the system ends it.
    child.on("exit", () => {
      signal?.removeEventListener("abort", stop);
      reject(notMade("its process ended"));
    });
    child.send(order, (error) => {
      if (error !== null) reject(notMade("its process ended", error));
    });
  });
}
