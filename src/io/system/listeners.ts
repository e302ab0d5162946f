// Who listens on a port of this machine: told by the kernel's tables, and by which process holds the socket.

import { readdir, readFile, readlink } from "node:fs/promises";
import { createServer } from "node:net";
import type { LocalPorts, ProcessIdentity } from "../../process/ports.ts";
import type { SocketPlace } from "../../release/sockets.ts";
import { familyOf } from "./proc.ts";

/** TCP_LISTEN of include/net/tcp_states.h. */
const LISTEN = "0A";
/**
 * Local addresses as /proc/net/tcp and tcp6 write them, in the order in which the kernel takes a listener for a connection to
 * 127.0.0.1: the address itself, any address, then sockets of version 6 that take version 4 as well.
 */
const PLACES = [
  "0100007F",
  "0000000000000000FFFF00000100007F",
  "00000000",
  "00000000000000000000000000000000",
] as const;

/** Inodes of the sockets one of which takes a connection to 127.0.0.1 at this port; null where that cannot be seen. */
async function listenersAt(port: number): Promise<readonly string[] | null> {
  const table = await socketTable();
  if (table === null) return null;
  const found = new Map<string, string[]>();
  for (const { state, local, inode } of table)
    if (state === LISTEN && local.port === port)
      found.set(local.address, [...(found.get(local.address) ?? []), inode]);
  return PLACES.map((place) => found.get(place)).find((inodes) => inodes !== undefined) ?? [];
}

/** Inodes of the sockets that listen at exactly this place. */
export async function listenersOf(place: SocketPlace): Promise<readonly string[]> {
  if (place.kind === "unix") return unixListeners(place.path);
  const { host, port } = place;
  const wanted = host === null ? ["0".repeat(8), "0".repeat(32)] : [inHex(host)];
  const found = await socketTable();
  return (found ?? [])
    .filter((one) => one.state === LISTEN && one.local.port === port && wanted.includes(one.local.address))
    .map(({ inode }) => inode);
}

/** /proc/net/unix: the inode is the seventh field, the path the eighth; flag 00010000 (__SO_ACCEPTCON) says that it listens. */
async function unixListeners(path: string): Promise<readonly string[]> {
  const text = await readFile("/proc/net/unix", "latin1").catch(() => "");
  return text
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[7] === path && fields[3] === "00010000")
    .map((fields) => fields[6]!);
}

/** An address as the kernel's tables write it: words of four bytes, each in the order of this machine (little endian). */
function inHex(host: string): string {
  const bytes = host.includes(":") ? bytesOf6(host) : host.split(".").map(Number);
  const words = Array.from({ length: bytes.length / 4 }, (_, i) => bytes.slice(4 * i, 4 * i + 4));
  return words
    .flatMap((word) => word.toReversed())
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("")
    .toUpperCase();
}

function bytesOf6(host: string): number[] {
  // The parser of addresses writes each in one way, without version 4 at its end.
  const [head = "", tail] = new URL(`http://[${host}]`).hostname.slice(1, -1).split("::");
  const groups = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16));
  const [before, after] = [groups(head), tail === undefined ? [] : groups(tail)];
  const all = [...before, ...Array<number>(8 - before.length - after.length).fill(0), ...after];
  return all.flatMap((group) => [group >> 8, group & 255]);
}

type Entry = {
  readonly local: { readonly address: string; readonly port: number };
  readonly remote: { readonly port: number };
  readonly state: string;
  readonly inode: string;
};

/** What /proc/net/tcp and tcp6 say; null where they are not to be had. */
async function socketTable(): Promise<readonly Entry[] | null> {
  const out: Entry[] = [];
  let seen = false;
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const text = await readFile(table, "latin1").catch(() => null);
    if (text === null) continue;
    seen = true;
    for (const line of text.split("\n").slice(1)) {
      const [, local = "", remote = "", state = "", , , , , , inode = ""] = line.trim().split(/\s+/);
      const [address = "", port = ""] = local.split(":");
      out.push({
        local: { address, port: Number.parseInt(port, 16) },
        remote: { port: Number.parseInt(remote.split(":")[1] ?? "", 16) },
        state,
        inode,
      });
    }
  }
  return seen ? out : null;
}

/**
 * Who accepted the connection from the port `from` of this machine to the port `to`: a process of the component, another, or nobody yet:
 * while it waits in the queue it belongs to no process. `unknown` where the system does not say.
 */
export async function acceptedBy(
  to: number,
  from: number,
  by: ProcessIdentity,
): Promise<"ours" | "other" | "not-yet" | "unknown"> {
  const table = await socketTable();
  if (table === null) return "unknown";
  const found = table.filter((one) => one.local.port === to && one.remote.port === from);
  const inodes = new Set(found.map(({ inode }) => inode).filter((inode) => inode !== "0"));
  if (inodes.size === 0) return "not-yet";
  if ((await socketIn(by.pid, inodes)) !== null) return "ours";
  for (const pid of await familyOf(by)) if ((await socketIn(pid, inodes)) !== null) return "ours";
  return "other";
}

/** The descriptor by which the process holds one of the sockets; null if it holds none, or nobody lets us look. */
export async function socketIn(pid: number, inodes: ReadonlySet<string>): Promise<number | null> {
  for (const name of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
    const target = await readlink(`/proc/${pid}/fd/${name}`).catch(() => "");
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    if (inode !== undefined && inodes.has(inode)) return Number(name);
  }
  return null;
}

/** Who listens on the port, in words, as far as it can be seen. */
export async function holderOfPort(port: number): Promise<string | null> {
  const listeners = await listenersAt(port);
  return listeners === null ? null : holderOf(new Set(listeners));
}

/** Sockets that the process holds open; null if nobody lets us look. */
async function socketsOf(pid: number): Promise<ReadonlySet<string> | null> {
  const inodes = new Set<string>();
  let names: string[];
  try {
    names = await readdir(`/proc/${pid}/fd`);
  } catch (error) {
    // Gone meanwhile: it holds nothing.
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? inodes : null;
  }
  for (const name of names) {
    const target = await readlink(`/proc/${pid}/fd/${name}`).catch(() => "");
    const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
    if (inode !== undefined) inodes.add(inode);
  }
  return inodes;
}

/**
 * Null if every socket that can take a connection to the port belongs to the component; else who holds one that does not, in words. Also null
 * where the system does not say who listens, or hides what a process of the component holds.
 */
export async function strangerAt(port: number, by: ProcessIdentity): Promise<string | null> {
  const listeners = await listenersAt(port);
  if (listeners === null) return null;
  if (listeners.length === 0) return "nobody that can be seen";
  const strange = new Set(listeners);
  const without = async (pid: number): Promise<boolean> => {
    const sockets = await socketsOf(pid);
    for (const inode of sockets ?? []) strange.delete(inode);
    return sockets === null || strange.size === 0;
  };
  // Nearly always it is the leader: then nobody else is looked at.
  if (await without(by.pid)) return null;
  for (const pid of await familyOf(by)) if (await without(pid)) return null;
  return (await holderOf(strange)) ?? "another program";
}

/** A process that holds one of the sockets, in words. */
async function holderOf(inodes: ReadonlySet<string>): Promise<string | null> {
  for (const name of await readdir("/proc").catch(() => [])) {
    if (!/^\d+$/.test(name)) continue;
    const sockets = await socketsOf(Number(name));
    if (sockets === null || ![...inodes].some((inode) => sockets.has(inode))) continue;
    const command = (await readFile(`/proc/${name}/comm`, "utf8").catch(() => "?")).trim();
    return `process ${name} (${command.replaceAll(/[^\x20-\x7e]/g, "?")})`;
  }
  return null;
}

export const systemPorts: LocalPorts = {
  takenBy: async (port) => {
    if (!(await isInUse(port, "127.0.0.1"))) return null;
    return (await holderOfPort(port)) ?? "another program";
  },
  isFree: async (port) => {
    for (const host of ["127.0.0.1", "0.0.0.0", "::"]) if (await isInUse(port, host)) return false;
    return true;
  },
};

/** Asked by trying; a refusal for another reason (no version 6, a port for root) says nothing about the port. */
export function isInUse(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "EADDRINUSE"));
    server.listen({ port, host, exclusive: true, ipv6Only: true }, () => server.close(() => resolve(false)));
  });
}
