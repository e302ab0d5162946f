// Trees of data as this system copies them: by the cp of coreutils, which knows what Node does not, or by Node alone.

import { spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { lstat, readdir, readlink, rm } from "node:fs/promises";
import { DiskError } from "../../core/disk.ts";
import { quoteName } from "../../core/raw-name.ts";
import type { DataEntry, DataKind, DataTrees } from "../../slot/data-trees.ts";
import { SlotError } from "../../slot/errors.ts";
import { copyByNode } from "./copy-tree.ts";
import { diskErrorOf } from "./disk.ts";
import { AS_READ, portName, systemPath } from "./raw-path.ts";

/** Looked up by fixed path, never through PATH. */
const FOLDERS = ["/usr/bin", "/bin"];
const WORDS_OF_CP = 300;

/**
 * With coreutils everything is kept: owner, modes, times, hard links, holes, pipes, sockets, devices, extended attributes and access lists,
 * and contents are shared where the file system can. Node alone cannot even see the last two; then this is said.
 */
export function systemTrees(): DataTrees {
  const cp = process.platform === "linux" ? coreutilsCp() : null;
  return cp === null ? nodeTrees : treesBy(cp);
}

/** Also what a test of systems without coreutils takes. */
export const nodeTrees: DataTrees = {
  unseen:
    "Extended attributes and access lists of the data are not seen on this system and would not come back; with the coreutils package they are.",
  survey,
  copy: async (from, to) => copyByNode(from, to, await survey(from), true),
  outline: async (from, to) => copyByNode(from, to, await survey(from), false),
  shares: async () => false,
};

function treesBy(cp: readonly string[]): DataTrees {
  const copy = (how: readonly string[], from: string, to: string): Promise<void> =>
    run(cp, ["-a", "--preserve=mode,ownership,timestamps,links,xattr", ...how, "-T", "--", from, to], from);
  return {
    unseen: null,
    survey,
    copy: (from, to) => copy(["--reflink=auto", "--sparse=auto"], from, to),
    outline: (from, to) => copy(["--attributes-only"], from, to),
    shares: async (from, to) => {
      const place = `${to}/.shares`;
      try {
        await run(cp, ["--reflink=always", "-T", "--", from, place], from);
        return true;
      } catch (error) {
        if (error instanceof SlotError) return false;
        throw error;
      } finally {
        await rm(place, { force: true });
      }
    },
  };
}

/** Only this cp says when it could not keep an attribute; others (busybox) drop them without a word. Null if there is none. */
function coreutilsCp(): readonly string[] | null {
  const cp = tool("cp");
  // Something that only coreutils has, of either make.
  if (cp === null || tool("stdbuf") === null) return null;
  const setpriv = tool("setpriv");
  // It does not go on copying when the agent was killed.
  return setpriv === null ? [cp] : [setpriv, "--pdeathsig", "KILL", "--", cp];
}

function tool(name: string): string | null {
  for (const folder of FOLDERS) {
    try {
      accessSync(`${folder}/${name}`, constants.X_OK);
      return `${folder}/${name}`;
    } catch {}
  }
  return null;
}

/** Errors: `slot/data-not-kept` with what cp says. */
function run(cp: readonly string[], args: readonly string[], about: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const [program, ...first] = cp;
    const child = spawn(program!, [...first, ...args], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { LC_ALL: "C" },
    });
    let words = "";
    child.stderr.on("data", (part: Buffer) => {
      if (words.length < WORDS_OF_CP) words += part.toString("latin1");
    });
    const fail = (why: string, cause?: unknown): void =>
      reject(
        new SlotError(
          "slot/data-not-kept",
          `The data in ${quoteName(about)} cannot be copied as it is: ${why}`,
          { path: about, why },
          { cause },
        ),
      );
    child.once("error", (error) => fail("cp cannot be run.", error));
    child.once("close", (code, signal) => {
      if (code === 0) return resolve();
      const said = words.split("\n")[0]!.slice(0, WORDS_OF_CP);
      fail(said === "" ? `cp ended with ${code ?? signal}.` : quoteName(said, WORDS_OF_CP));
    });
  });
}

/** So many entries of a folder are looked at at a time. */
const AT_A_TIME = 32;

async function survey(top: string): Promise<readonly DataEntry[]> {
  const out: DataEntry[] = [];
  const visit = async (path: string, entry: DataEntry): Promise<void> => {
    out.push(entry);
    if (entry.kind !== "directory") return;
    const names = await unlessGone(readdir(systemPath(placeOf(top, path)), AS_READ), top);
    const inner = (names ?? [])
      .map((name) => (path === "" ? portName(name) : `${path}/${portName(name)}`))
      .sort();
    for (let i = 0; i < inner.length; i += AT_A_TIME) {
      const some = inner.slice(i, i + AT_A_TIME);
      const looked = await Promise.all(some.map((each) => unlessGone(look(top, each), placeOf(top, each))));
      for (const [j, found] of looked.entries()) if (found !== null) await visit(some[j]!, found);
    }
  };
  try {
    await visit("", await look(top, ""));
  } catch (error) {
    throw diskErrorOf(top, error);
  }
  return out;
}

async function look(top: string, path: string): Promise<DataEntry> {
  const place = systemPath(placeOf(top, path));
  const stat = await lstat(place, { bigint: true });
  const kind: DataKind = stat.isFile()
    ? "file"
    : stat.isDirectory()
      ? "directory"
      : stat.isSymbolicLink()
        ? "link"
        : stat.isFIFO()
          ? "pipe"
          : stat.isSocket()
            ? "socket"
            : "device";
  return {
    path,
    kind,
    size: Number(stat.size),
    allocated: Number(stat.blocks ?? 0n) * 512,
    mode: Number(stat.mode) & 0o7777,
    owner: Number(stat.uid),
    group: Number(stat.gid),
    modified: stat.mtimeNs,
    inode: `${stat.dev}:${stat.ino}`,
    volume: String(stat.dev),
    target:
      kind === "link"
        ? portName(await readlink(place, AS_READ))
        : kind === "device"
          ? String(stat.rdev)
          : null,
  };
}

function placeOf(top: string, path: string): string {
  return path === "" ? top : `${top}/${path}`;
}

/** A running program removes files while they are looked at. */
async function unlessGone<T>(action: Promise<T>, path: string): Promise<T | null> {
  try {
    return await action;
  } catch (error) {
    const found = diskErrorOf(path, error);
    if (found instanceof DiskError && found.code === "disk/missing") return null;
    throw found;
  }
}
