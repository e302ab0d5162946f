// Makes patches in threads of their own, so that whoever asked goes on, and several are made at once.

import { Worker } from "node:worker_threads";
import { moduleBeside } from "../../core/module-beside.ts";
import { DeltaError } from "../../delta/errors.ts";
import type { PatchNews, PatchOrder } from "./patch-order.ts";

export type MakeOptions = {
  /** How far the new file was looked at. */
  readonly onProgress?: (bytes: number) => void;
  readonly signal?: AbortSignal;
};

/** Reads both files into memory, and needs about as much again. Errors: `delta/too-large`, `delta/not-made`. */
export function makePatch(order: PatchOrder, options: MakeOptions = {}): Promise<Uint8Array> {
  const { onProgress = () => {}, signal } = options;
  return new Promise((resolve, reject) => {
    const worker = new Worker(moduleBeside("./patch-worker", import.meta.url), { workerData: order });
    const notMade = (what: string, cause?: unknown): DeltaError =>
      new DeltaError("delta/not-made", `The patch was not made: ${what}.`, {}, { cause });
    const stop = (): void => {
      reject(notMade("it was interrupted"));
      void worker.terminate();
    };
    if (signal?.aborted === true) return stop();
    signal?.addEventListener("abort", stop, { once: true });
    worker.on("message", (news: PatchNews) => {
      if (news.kind === "progress") onProgress(news.bytes);
      else if (news.kind === "made") resolve(news.patch);
      else if (news.kind === "refused") reject(new DeltaError(news.code, news.message));
      else reject(notMade(news.message));
    });
    // Without memory the thread ends by itself.
    worker.on("error", (error) => reject(notMade("its thread ended", error)));
    worker.on("exit", () => {
      signal?.removeEventListener("abort", stop);
      reject(notMade("its thread ended"));
    });
  });
}
