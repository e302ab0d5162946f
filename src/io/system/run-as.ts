// A component as its own user: who that is, what of the agent's folder it may reach, and what it may use up.

import { chmod, chown, lchown, lstat, readdir, readFile } from "node:fs/promises";
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { ProcessError } from "../../process/errors.ts";
import type { RunAs } from "../../process/ports.ts";

/** Numbers that belong to nobody: those that systemd gives to services with DynamicUser= (systemd.exec(5)). */
export const OWN_USERS = { first: 61_184, last: 65_519 } as const;

export type User = { readonly uid: number; readonly gid: number; readonly name: string };

/**
 * The user of the component, after its data was given to it and everything else of the agent's folder closed to it. What is its own alone is
 * `data`; slots may be read by every component. Errors: `process/no-user`.
 */
export async function prepareUser({ user, data }: RunAs): Promise<User> {
  if (process.platform !== "linux" || process.geteuid?.() !== 0)
    throw noUser(user, "only an agent of root on Linux can start a program as another user");
  const component = dirname(data);
  const components = dirname(component);
  const found = user === "own" ? await ownUser(data, components) : await knownUser(user);
  await closeFolder(dirname(components), components);
  const { uid } = await lstat(data);
  if (uid !== found.uid) await giveTree(data, found);
  await chmod(data, 0o700);
  return found;
}

/** The owner of its data is the record of its number; a component that has none takes one that is nobody's. */
async function ownUser(data: string, components: string): Promise<User> {
  const used = new Set<number>();
  for (const name of await readdir(components)) {
    const place = `${components}/${name}/data`;
    const owner = (await lstat(place).catch(() => null))?.uid;
    if (owner === undefined) continue;
    if (place === data && owner >= OWN_USERS.first && owner <= OWN_USERS.last)
      return { uid: owner, gid: owner, name: String(owner) };
    used.add(owner);
  }
  for (const { uid } of await users()) used.add(uid);
  for (let uid = OWN_USERS.first; uid <= OWN_USERS.last; uid++)
    if (!used.has(uid)) return { uid, gid: uid, name: String(uid) };
  throw noUser("own", `every number from ${OWN_USERS.first} to ${OWN_USERS.last} is in use`);
}

/** A name of passwd(5), or a number, which is its own group where nobody has it. */
async function knownUser(user: string): Promise<User> {
  const number = /^\d+$/.test(user) ? Number(user) : null;
  const found = (await users()).find(({ name, uid }) => (number === null ? name === user : uid === number));
  if (found !== undefined) return found;
  if (number === null) throw noUser(user, "this machine has no user of that name");
  return { uid: number, gid: number, name: user };
}

async function users(): Promise<readonly User[]> {
  const text = await readFile("/etc/passwd", "utf8").catch(() => "");
  return text.split("\n").flatMap((line) => {
    const [name, , uid, gid] = line.split(":");
    return name === undefined || gid === undefined ? [] : [{ name, uid: Number(uid), gid: Number(gid) }];
  });
}

/** A component may pass through the agent's folder and read nothing of it: identity, settings, metadata, downloads, reports. */
async function closeFolder(folder: string, components: string): Promise<void> {
  for (const name of await readdir(folder)) {
    const place = `${folder}/${name}`;
    if (place !== components) await narrow(place, 0o007);
  }
  for (const name of await readdir(components)) await openWay(`${components}/${name}`);
  for (const place of [folder, components]) await chmod(place, 0o711);
}

/** What others may read of a component: what was installed, which products share with each other, and nothing that it keeps. */
const SHARED: readonly string[] = ["slots", "current", "addons", "ready"];

async function openWay(component: string): Promise<void> {
  if (!(await lstat(component)).isDirectory()) return;
  await chmod(component, 0o711);
  for (const name of await readdir(component))
    if (!SHARED.includes(name)) await narrow(`${component}/${name}`, 0o007);
}

async function narrow(place: string, bits: number): Promise<void> {
  const stat = await lstat(place).catch(() => null);
  if (stat === null || stat.isSymbolicLink() || (stat.mode & bits) === 0) return;
  await chmod(place, stat.mode & 0o7777 & ~bits);
}

/** Everything in it, links themselves and not what they lead to; what has several names may be another's file and stays as it is. */
async function giveTree(path: string, user: User): Promise<void> {
  const stat = await lstat(path);
  if (stat.isDirectory()) {
    for (const name of await readdir(path)) await giveTree(`${path}/${name}`, user);
    await chown(path, user.uid, user.gid);
  } else if (stat.isSymbolicLink() || stat.nlink === 1) await lchown(path, user.uid, user.gid);
}

const TOOLS = ["/usr/bin", "/bin"];
const tool = (name: string): string | null =>
  TOOLS.map((folder) => `${folder}/${name}`).find((path) => existsSync(path)) ?? null;

/**
 * The command that bounds the program and takes from it the way to more rights. It runs as the component's user already: what the release
 * puts into the environment (LD_PRELOAD) reaches no program of root. Errors: `process/no-user` if the system has not the tools for it.
 */
export function confined(
  { user, memoryBytes, processes }: RunAs,
  [program, args]: readonly [string, readonly string[]],
): readonly [string, readonly string[]] {
  const [setpriv, prlimit, shell] = [tool("setpriv"), tool("prlimit"), tool("sh")];
  if (setpriv === null || shell === null)
    throw noUser(
      user,
      "this machine has no setpriv (of util-linux), which takes away the way to more rights",
    );
  const limits = [
    // Private writable memory (RLIMIT_DATA of getrlimit(2)): an address space as such costs nothing.
    ...(memoryBytes === undefined ? [] : [`--data=${memoryBytes}`]),
    ...(processes === undefined ? [] : [`--nproc=${processes}`]),
  ];
  if (limits.length > 0 && prlimit === null)
    throw noUser(user, "this machine has no prlimit (of util-linux), which bounds what a program uses");
  const bounds = limits.length === 0 ? [] : [prlimit!, ...limits, "--"];
  const rights = [setpriv, "--no-new-privs", "--"];
  return [shell, ["-c", 'umask 077; exec "$0" "$@"', ...bounds, ...rights, program, ...args]];
}

function noUser(user: string, why: string): ProcessError {
  return new ProcessError(
    "process/no-user",
    `The component cannot run as the user ${user}: ${why}.`,
    { user },
    { hint: "Set components.<product>.runAs in agent.toml to a user of this machine, or leave it out." },
  );
}
