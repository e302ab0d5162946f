// Who listens on a port of this machine: told by the kernel's tables, and by which process holds the socket.

import { readdir, readFile, readlink } from "node:fs/promises";
import { createServer } from "node:net";
import type { LocalPorts, ProcessIdentity } from "../../process/ports.ts";
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
  const wanted = port.toString(16).toUpperCase().padStart(4, "0");
  const found = new Map<string, string[]>();
  let seen = false;
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const text = await readFile(table, "latin1").catch(() => null);
    if (text === null) continue;
    seen = true;
    for (const line of text.split("\n").slice(1)) {
      const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
      const [address = "", at] = local.split(":");
      if (state === LISTEN && at === wanted) found.set(address, [...(found.get(address) ?? []), inode]);
    }
  }
  if (!seen) return null;
  return PLACES.map((place) => found.get(place)).find((inodes) => inodes !== undefined) ?? [];
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
    const listeners = await listenersAt(port);
    return (listeners === null ? null : await holderOf(new Set(listeners))) ?? "another program";
  },
  isFree: async (port) => {
    for (const host of ["127.0.0.1", "0.0.0.0", "::"]) if (await isInUse(port, host)) return false;
    return true;
  },
};

/** Asked by trying; a refusal for another reason (no version 6, a port for root) says nothing about the port. */
function isInUse(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code === "EADDRINUSE"));
    server.listen({ port, host, exclusive: true, ipv6Only: true }, () => server.close(() => resolve(false)));
  });
}
