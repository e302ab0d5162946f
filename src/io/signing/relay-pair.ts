// One session at a gateway: data frames are counted and copied between two legs, neither faster than the other reads.

import type { TLSSocket } from "node:tls";
import { encodeFrame, type Frame } from "../../signing/wire/frame.ts";
import { encodeClose } from "../../signing/wire/greeting.ts";
import { onFrames } from "./frame-stream.ts";

export type PairLimits = {
  /** Bytes of payload, both ways. */
  readonly bytes: number;
  /** Milliseconds without data. */
  readonly idle: number;
  /** Milliseconds altogether. */
  readonly life: number;
};

/**
 * Copies until one leg closes or a limit is reached; resolves with the bytes copied and why it ended, when both legs are being closed.
 * `spend` is asked before each frame is copied; what it returns ends the session.
 */
export function pair(
  session: bigint,
  client: TLSSocket,
  signer: TLSSocket,
  limits: PairLimits,
  spend: (bytes: number) => string | null,
): Promise<{ readonly bytes: number; readonly why: string }> {
  return new Promise((resolve) => {
    let [bytes, ended] = [0, false];
    const end = (why: string): void => {
      if (ended) return;
      ended = true;
      clearTimeout(idle);
      clearTimeout(life);
      for (const socket of [client, signer]) {
        const payload = encodeClose("ended", why);
        if (!socket.destroyed) socket.end(encodeFrame({ type: "close", session, payload }));
        setTimeout(() => socket.destroy(), 1000).unref();
      }
      resolve({ bytes, why });
    };
    const idle = setTimeout(() => end("idle for too long"), limits.idle);
    const life = setTimeout(() => end("the session is over"), limits.life);
    const copy = (from: TLSSocket, to: TLSSocket): void => {
      let full = false;
      onFrames(from, (frame: Frame) => {
        if (ended || frame.type === "ping") return;
        if (frame.type === "close") return end("closed");
        if (frame.type !== "data" || frame.session !== session) return end("a frame out of place");
        bytes += frame.payload.length;
        if (bytes > limits.bytes) return end("the session's byte budget is used up");
        const refused = spend(frame.payload.length);
        if (refused !== null) return end(refused);
        // What only stands in a buffer here has not moved: a leg that does not read cannot keep a session busy.
        if (!full) idle.refresh();
        if (to.write(encodeFrame(frame)) || full) return;
        // Nothing more is read than the other leg takes; what was read already is at most one chunk.
        full = true;
        from.pause();
        to.once("drain", () => {
          full = false;
          idle.refresh();
          from.resume();
        });
      });
      from.once("close", () => end("closed"));
      from.resume();
    };
    copy(client, signer);
    copy(signer, client);
    if (client.destroyed || signer.destroyed) end("closed");
  });
}
