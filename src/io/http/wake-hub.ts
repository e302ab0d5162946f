// Everyone who waits for a wake-up: one stream per device, heartbeats, and bounded memory whatever happens.

import type { ServerResponse } from "node:http";
import { sealedEvent, wakeEvent, type Wake } from "../../message/wake.ts";

/** Milliseconds between heartbeats; proxies cut streams that are silent for 30 to 60 s. */
export const HEARTBEAT = 20_000;
/** Unsent bytes after which a listener is given up: it does not read. */
const BACKLOG = 16 * 1024;
/** Milliseconds for a listener to take the end of its stream. */
const END_WITHIN = 10_000;

type Listener = {
  readonly device: string;
  readonly group: string;
  /** Newest sequence number it was told. */
  told: number;
  /** False when it cannot take more. */
  readonly tell: (seq: number) => boolean;
  readonly beat: () => boolean;
  readonly end: (why: "stopping" | "replaced" | "revoked") => void;
  /** Of a listener that opens sealed messages: how far it is, and how it gets one. */
  readonly sealed: Letterbox | null;
};

type Letterbox = {
  /** Number of the newest message that it was sent on this connection. */
  after: number;
  /** The number up to which it has made the checks that messages asked for, by its own words. */
  readonly checkedUpTo: number;
  /** False when it cannot take more. */
  readonly post: (bytes: Uint8Array) => boolean;
};

/** A listener that takes sealed messages, for who seals them. */
export type Addressee = {
  readonly id: string;
  readonly group: string;
  readonly after: number;
  readonly checkedUpTo: number;
  /** False when it is gone, or has what it waited for. */
  send(counter: number, bytes: Uint8Array): boolean;
  /** The bare number, for a device that gave no key yet. */
  tell(seq: number): void;
};

export class WakeHub {
  readonly #listeners = new Map<string, Listener>();
  readonly #limit: number;
  readonly #heartbeat: NodeJS.Timeout;
  #stopped = false;

  /** `limit`: listeners at once. */
  constructor(limit: number, heartbeat = HEARTBEAT) {
    this.#limit = limit;
    this.#heartbeat = setInterval(() => {
      for (const listener of this.#listeners.values()) if (!listener.beat()) this.#drop(listener);
    }, heartbeat);
    this.#heartbeat.unref();
  }

  get size(): number {
    return this.#listeners.size;
  }

  /** True when another device may listen. */
  hasRoom(device: string): boolean {
    return !this.#stopped && (this.#listeners.size < this.#limit || this.#listeners.has(device));
  }

  /**
   * Serves server-sent events until the device goes. A second stream of the same device replaces the first.
   * `after` is what the device has seen, `newest` what there is: a missed wake-up is told at once.
   */
  stream(
    device: { readonly id: string; readonly group: string },
    response: ServerResponse,
    wake: { readonly after: number | null; readonly newest: number; readonly sealedAfter?: number | null },
  ): Promise<void> {
    return new Promise((resolve) => {
      const write = (text: string): boolean => response.write(text) || response.writableLength < BACKLOG;
      response.writeHead(200, {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
        // For nginx in front: streams must not be gathered.
        "x-accel-buffering": "no",
      });
      // A stream is quiet for long; only heartbeats that nobody takes end it.
      response.socket?.setTimeout(0);
      const listener: Listener = {
        device: device.id,
        group: device.group,
        told: wake.newest,
        sealed: letterbox(wake.sealedAfter, (bytes) => write(sealedEvent(bytes))),
        tell: (seq) => write(wakeEvent({ type: "check", seq })),
        beat: () => write(":\n\n"),
        end: (why) => {
          // Spread over 2 to 10 s, so that a restart does not bring everybody back at once.
          if (why === "stopping") response.write(`retry: ${2000 + Math.floor(Math.random() * 8000)}\n\n`);
          if (why === "revoked") return void response.destroy();
          const { socket } = response;
          response.end();
          // A stream has no limit of time; its end has one, for whoever does not read it.
          socket?.setTimeout(END_WITHIN, () => socket.destroy());
        },
      };
      response.once("close", () => {
        if (this.#listeners.get(device.id) === listener) this.#listeners.delete(device.id);
        resolve();
      });
      this.#add(listener);
      listener.beat();
      if (listener.sealed !== null) {
        // What it missed comes sealed; where nothing can be sealed, as a number.
        listener.told = wake.after ?? wake.newest;
        return;
      }
      if (wake.after !== null && wake.newest > wake.after) listener.tell(wake.newest);
    });
  }

  /** The long-poll form: the next wake-up, or null when none came in `ms`. */
  wait(
    device: { readonly id: string; readonly group: string },
    wake: { readonly after: number; readonly newest: number },
    ms: number,
    signal: AbortSignal,
  ): Promise<Wake | null> {
    if (wake.newest > wake.after) return Promise.resolve({ type: "check", seq: wake.newest });
    return new Promise((resolve) => {
      const done = (answer: Wake | null): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", gone);
        if (this.#listeners.get(device.id) === listener) this.#listeners.delete(device.id);
        resolve(answer);
      };
      const gone = (): void => done(null);
      const timer = setTimeout(gone, ms);
      signal.addEventListener("abort", gone);
      const listener: Listener = {
        device: device.id,
        group: device.group,
        told: wake.after,
        sealed: null,
        tell: (seq) => {
          done({ type: "check", seq });
          return true;
        },
        beat: () => true,
        end: gone,
      };
      this.#add(listener);
    });
  }

  /** The long poll of a device that opens sealed messages: the next one, or null when none came in `ms`. */
  waitSealed(
    device: { readonly id: string; readonly group: string },
    after: number,
    ms: number,
    signal: AbortSignal,
  ): Promise<Uint8Array | null> {
    return new Promise((resolve) => {
      const done = (answer: Uint8Array | null): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", gone);
        if (this.#listeners.get(device.id) === listener) this.#listeners.delete(device.id);
        resolve(answer);
      };
      const gone = (): void => done(null);
      const timer = setTimeout(gone, ms);
      signal.addEventListener("abort", gone);
      const post = (bytes: Uint8Array): boolean => (done(bytes), true);
      const listener: Listener = {
        device: device.id,
        group: device.group,
        told: Number.MAX_SAFE_INTEGER,
        sealed: { after, checkedUpTo: 0, post },
        // A bare number is no answer to this question.
        tell: () => true,
        beat: () => true,
        end: gone,
      };
      this.#add(listener);
    });
  }

  /** Everyone who takes sealed messages, or that one device. */
  addressees(device?: string): readonly Addressee[] {
    const all = device === undefined ? [...this.#listeners.values()] : [this.#listeners.get(device)];
    return all.flatMap((listener) => {
      const sealed = listener?.sealed ?? null;
      if (listener === undefined || sealed === null) return [];
      const there = (): boolean => this.#listeners.get(listener.device) === listener;
      return [
        {
          id: listener.device,
          group: listener.group,
          after: sealed.after,
          checkedUpTo: sealed.checkedUpTo,
          send: (counter: number, bytes: Uint8Array) => {
            if (!there() || counter <= sealed.after) return false;
            sealed.after = counter;
            if (!sealed.post(bytes)) this.#drop(listener);
            return there();
          },
          tell: (seq: number) => {
            if (!there() || seq <= listener.told) return;
            listener.told = seq;
            if (!listener.tell(seq)) this.#drop(listener);
          },
        },
      ];
    });
  }

  /**
   * Tells each listener what is newest for it; says how many were told. `sealing`: those that open sealed messages get these instead.
   */
  tell(
    newestOf: (device: { readonly id: string; readonly group: string }) => number,
    sealing = false,
  ): number {
    let told = 0;
    // A long poll that is told leaves the map meanwhile, which a Map allows.
    for (const listener of this.#listeners.values()) {
      if (sealing && listener.sealed !== null) continue;
      const seq = newestOf({ id: listener.device, group: listener.group });
      if (seq <= listener.told) continue;
      listener.told = seq;
      told++;
      if (!listener.tell(seq)) this.#drop(listener);
    }
    return told;
  }

  /** Ends the stream of a device that may listen no more. */
  revoke(device: string): void {
    const listener = this.#listeners.get(device);
    if (listener === undefined) return;
    this.#listeners.delete(device);
    listener.end("revoked");
  }

  /** Devices that listen now. */
  devices(): readonly string[] {
    return [...this.#listeners.keys()];
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#heartbeat);
    for (const listener of this.#listeners.values()) listener.end("stopping");
    this.#listeners.clear();
  }

  #add(listener: Listener): void {
    this.#listeners.get(listener.device)?.end("replaced");
    this.#listeners.set(listener.device, listener);
  }

  #drop(listener: Listener): void {
    if (this.#listeners.get(listener.device) === listener) this.#listeners.delete(listener.device);
    listener.end("revoked");
  }
}

function letterbox(
  checkedUpTo: number | null | undefined,
  post: (bytes: Uint8Array) => boolean,
): Letterbox | null {
  return checkedUpTo === null || checkedUpTo === undefined ? null : { after: 0, checkedUpTo, post };
}
