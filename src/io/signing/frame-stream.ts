// Frames over a TLS connection: read with limits on size and time, and the paired session as a plain byte stream.

import { Duplex } from "node:stream";
import type { TLSSocket } from "node:tls";
import { encodeFrame, FrameReader, MAX_PAYLOAD, type Frame } from "../../signing/wire/frame.ts";
import { SigningError } from "../../signing/errors.ts";
import { closeError } from "../../signing/wire/greeting.ts";

/** A frame that began must end within this time: a slow sender holds nothing open. */
export const FRAME_TIMEOUT = 10_000;

/** Calls `frame` for each frame in turn. A bad or slow frame destroys the socket. Returns a function that stops the watch; pause the socket first. */
export function onFrames(socket: TLSSocket, frame: (frame: Frame) => void): () => void {
  const reader = new FrameReader();
  let slow: NodeJS.Timeout | undefined;
  const late = (): void => {
    // It is not the sender who is slow while nothing is read.
    if (socket.isPaused()) slow = setTimeout(late, FRAME_TIMEOUT);
    else socket.destroy(new SigningError("signing/bad-frame", "A frame began and did not end in time."));
  };
  const data = (part: Buffer): void => {
    try {
      for (const whole of reader.push(part)) {
        clearTimeout(slow);
        slow = undefined;
        frame(whole);
      }
    } catch (error) {
      socket.destroy(error as Error);
      return;
    }
    if (reader.unfinished > 0) slow ??= setTimeout(late, FRAME_TIMEOUT);
  };
  const stop = (): void => {
    clearTimeout(slow);
    socket.off("data", data);
    socket.off("close", stop);
    // The beginning of a frame belongs to the next reader.
    const rest = reader.rest();
    if (rest.length > 0 && !socket.destroyed) socket.unshift(rest);
  };
  socket.on("data", data);
  socket.once("close", stop);
  return stop;
}

/** Waits for the one frame that must come next. Errors: `signing/bad-frame`, `signing/unreachable`. */
export function nextFrame(socket: TLSSocket, type: Frame["type"], timeout: number): Promise<Frame> {
  return new Promise((resolve, reject) => {
    let done = false;
    const finish = (action: () => void): void => {
      if (done) return;
      done = true;
      clearTimeout(timer);
      stop();
      socket.off("error", broken);
      socket.off("close", broken);
      action();
    };
    const broken = (cause?: unknown): void =>
      finish(() => {
        socket.destroy();
        reject(
          cause instanceof SigningError
            ? cause
            : new SigningError(
                "signing/unreachable",
                "The connection was closed.",
                {},
                cause instanceof Error ? { cause } : {},
              ),
        );
      });
    const timer = setTimeout(
      () => broken(new SigningError("signing/unreachable", "The other side did not answer in time.")),
      timeout,
    );
    const reader = new FrameReader();
    const judge = (frame: Frame): void => {
      if (frame.type === type) return resolve(frame);
      socket.destroy();
      reject(
        frame.type === "close"
          ? closeError(frame.payload)
          : new SigningError("signing/bad-frame", `A ${frame.type} frame came where a ${type} was due.`),
      );
    };
    const data = (part: Buffer): void => {
      try {
        for (const frame of reader.push(part)) {
          if (frame.type === "ping") continue;
          return finish(() => {
            // What follows belongs to the next reader.
            socket.pause();
            const rest = reader.rest();
            if (rest.length > 0) socket.unshift(rest);
            judge(frame);
          });
        }
      } catch (error) {
        broken(error);
      }
    };
    const stop = (): unknown => socket.off("data", data);
    socket.on("data", data);
    socket.once("error", broken);
    socket.once("close", broken);
    socket.resume();
  });
}

/** The data frames of one session as a byte stream, for the inner TLS. */
export class FrameDuplex extends Duplex {
  readonly #socket: TLSSocket;
  readonly #session: bigint;

  constructor(socket: TLSSocket, session: bigint) {
    super({ allowHalfOpen: false });
    this.#socket = socket;
    this.#session = session;
    onFrames(socket, (frame) => this.#frame(frame));
    socket.on("error", (error) => this.destroy(error));
    socket.once("close", () => this.#end());
    socket.resume();
  }

  override _read(): void {
    this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    let drained = true;
    this.#socket.cork();
    for (let at = 0; at < chunk.length; at += MAX_PAYLOAD) {
      const payload = chunk.subarray(at, at + MAX_PAYLOAD);
      drained = this.#socket.write(encodeFrame({ type: "data", session: this.#session, payload }));
    }
    this.#socket.uncork();
    if (drained || this.#socket.destroyed) done();
    else this.#socket.once("drain", () => done());
  }

  /** TLS hands over several records at once: as few frames as they fit. */
  override _writev(
    chunks: readonly { readonly chunk: Buffer }[],
    done: (error?: Error | null) => void,
  ): void {
    this._write(Buffer.concat(chunks.map(({ chunk }) => chunk)), "buffer", done);
  }

  override _final(done: (error?: Error | null) => void): void {
    if (!this.#socket.destroyed) {
      this.#socket.end(encodeFrame({ type: "close", session: this.#session, payload: new Uint8Array(0) }));
    }
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#socket.destroy();
    done(error);
  }

  #frame({ type, session, payload }: Frame): void {
    if (type === "ping") return;
    if (session !== this.#session) {
      this.destroy(new SigningError("signing/bad-frame", "A frame of another session arrived."));
    } else if (type === "data") {
      if (!this.push(payload)) this.#socket.pause();
    } else {
      this.#end();
    }
  }

  #end(): void {
    if (!this.readableEnded) this.push(null);
  }
}
