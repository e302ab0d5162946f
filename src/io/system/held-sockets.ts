// Sockets that the agent holds for its components: bound here, listened on by the programs that inherit them, and taken back from a running program after a restart.

import { chmod, mkdir, stat, unlink } from "node:fs/promises";
import { connect } from "node:net";
import { basename, dirname } from "node:path";
import type { HeldSockets } from "../../agent/ports.ts";
import { ProcessError } from "../../process/errors.ts";
import type { ProcessIdentity } from "../../process/ports.ts";
import type { SocketPlace } from "../../release/sockets.ts";
import { bindTcp, bindUnix, type Bound } from "./_bind.ts";
import { holderOfPort, isInUse, listenersOf, socketIn } from "./listeners.ts";
import { familyOf } from "./proc.ts";
import { takeDescriptor } from "./take-descriptor.ts";

/** As systemd makes the sockets of a unit (SocketMode in systemd.socket(5)). */
const SOCKET_MODE = 0o666;

/** By the folder of the component, then by address. */
type Held = Map<string, Map<string, Bound>>;

/** One table for the whole process: an agent that begins anew in it finds its sockets again. */
const HELD: Held = new Map();

function of(owner: string): Map<string, Bound> {
  const known = HELD.get(owner) ?? new Map<string, Bound>();
  HELD.set(owner, known);
  return known;
}

export const systemSockets: HeldSockets = {
  hold: async (owner, place, from) => {
    const key = keyOf(place);
    const known = of(owner).get(key);
    if (known !== undefined) return known.fd;
    refuseOther(HELD, owner, key);
    const bound = await acquire(basename(owner), place, from);
    of(owner).set(key, bound);
    return bound.fd;
  },
  keepOnly: async (owner, places) => {
    const kept = new Set(places.map(keyOf));
    for (const [key, bound] of of(owner)) {
      if (kept.has(key)) continue;
      of(owner).delete(key);
      await letGo(bound, key);
    }
  },
};

/** Two components with one address would share its connections by chance. */
function refuseOther(
  held: ReadonlyMap<string, ReadonlyMap<string, Bound>>,
  owner: string,
  key: string,
): void {
  for (const [other, sockets] of held)
    if (other !== owner && sockets.has(key))
      throw taken(basename(owner), key, `the component ${basename(other)} of this device`);
}

function keyOf(place: SocketPlace): string {
  if (place.kind === "unix") return `unix:${place.path}`;
  const { host, port } = place;
  return `tcp:${host === null ? "" : `${host.includes(":") ? `[${host}]` : host}:`}${port}`;
}

async function acquire(product: string, place: SocketPlace, from: ProcessIdentity | null): Promise<Bound> {
  const before = from === null ? null : await heldBy(place, from);
  if (before !== null) {
    const bound = await takeDescriptor(before.pid, before.fd);
    if (bound !== null) return bound;
  }
  return place.kind === "tcp"
    ? bindPort(product, place, before !== null)
    : bindPath(product, place.path, before !== null);
}

/** Which process of the component holds the listening socket, and as which descriptor. */
async function heldBy(
  place: SocketPlace,
  from: ProcessIdentity,
): Promise<{ readonly pid: number; readonly fd: number } | null> {
  const inodes = new Set(await listenersOf(place));
  if (inodes.size === 0) return null;
  for (const pid of [from.pid, ...(await familyOf(from))]) {
    const fd = await socketIn(pid, inodes);
    if (fd !== null) return { pid, fd };
  }
  return null;
}

/**
 * `shared`: a program of this component listens there and its socket cannot be had. Linux lets a second socket of the same user stand
 * beside it (SO_REUSEPORT in socket(7)); what waits in the first one's queue when that program closes it is reset.
 */
async function bindPort(
  product: string,
  place: Extract<SocketPlace, { kind: "tcp" }>,
  shared: boolean,
): Promise<Bound> {
  const key = keyOf(place);
  const { host, port } = place;
  if (!shared)
    for (const one of host === null ? ["0.0.0.0", "::"] : [host])
      if (await isInUse(port, one))
        throw taken(product, key, (await holderOfPort(port)) ?? "another program");
  const bound = bindTcp(host, port);
  if (typeof bound !== "string") return bound;
  throw bound === "EADDRINUSE" ? taken(product, key, "another program") : refused(product, key, bound);
}

async function bindPath(product: string, path: string, shared: boolean): Promise<Bound> {
  const key = `unix:${path}`;
  // A file there that nobody listens on is what an earlier run left; anything that is no socket is left alone.
  const there = await stat(path).catch(() => null);
  if (there !== null) {
    if (!there.isSocket()) throw refused(product, key, "EEXIST");
    if (shared || (await answers(path))) throw taken(product, key, "a program");
    await unlink(path).catch(() => undefined);
  }
  await mkdir(dirname(path), { recursive: true, mode: 0o755 }).catch(() => undefined);
  const bound = bindUnix(path);
  if (typeof bound === "string") throw refused(product, key, bound);
  await chmod(path, SOCKET_MODE);
  return bound;
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

async function letGo(bound: Bound, key: string): Promise<void> {
  bound.close();
  if (key.startsWith("unix:")) await unlink(key.slice("unix:".length)).catch(() => undefined);
}

function taken(product: string, address: string, by: string): ProcessError {
  return new ProcessError(
    "process/port-taken",
    `${product} is to be reached at ${address}, and ${by} listens there.`,
    { product, address },
    {
      hint: "End that program, or give the component another address (components.<product>.sockets in agent.toml).",
    },
  );
}

const HINTS: { readonly [code: string]: string } = {
  EACCES:
    "Run the agent as root, or give the component an address that its user may listen on (components.<product>.sockets in agent.toml).",
  EADDRNOTAVAIL: "This machine does not have that address at the moment.",
  EEXIST: "A file that is no socket has that name: move it away.",
};

function refused(product: string, address: string, code: string): ProcessError {
  return new ProcessError(
    "process/no-socket",
    `The socket ${address} for ${product} cannot be made (${code}).`,
    { product, address, because: code },
    HINTS[code] === undefined ? {} : { hint: HINTS[code] },
  );
}
