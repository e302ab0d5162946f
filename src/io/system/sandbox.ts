// A process without network: how this system gives a child a network of its own in which nothing is, if it does.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, readlinkSync } from "node:fs";

/** The way that was found to work here. `how` is for the log. */
export type Sandbox = {
  readonly how: string;
  /** The program and arguments that run `program` inside: by exec, so that its process id and its pipes stay the caller's. */
  readonly wrap: (program: string, args: readonly string[]) => readonly [string, readonly string[]];
};

/** Looked up by fixed path, never through PATH. */
const FOLDERS = ["/usr/bin", "/bin"];
const PROBE_TIME = 5000;
/**
 * What root needs to read the files of another user. Everything else that root may do goes: with CAP_SYS_ADMIN a process
 * walks out of its namespace again (namespaces(7), setns(2)).
 */
const ROOT_KEEPS = ["dac_override", "dac_read_search"];

/**
 * Tries each way once with a real process and takes the first whose network namespace is another than ours; null when there is none
 * (not Linux, no util-linux, or user namespaces are closed). Nothing is changed for the caller.
 */
export function findSandbox(): Sandbox | null {
  const [unshare, setpriv, readlink] = [tool("unshare"), tool("setpriv"), tool("readlink")];
  if (process.platform !== "linux" || unshare === null || readlink === null) return null;
  const ours = networkOf("self");
  const privileges: (readonly string[])[] = [];
  if (setpriv !== null) {
    if (process.getuid?.() === 0) {
      const kept = ROOT_KEEPS.map((name) => `+${name}`).join(",");
      privileges.push([setpriv, "--no-new-privs", `--bounding-set=-all,${kept}`, "--inh-caps=-all"]);
    }
    privileges.push([setpriv, "--no-new-privs"]);
  }
  privileges.push([]);
  // A user namespace first gives an unprivileged process the right to make the others; unshare execs, it does not fork.
  for (const [how, namespaces] of [
    ["network namespace", ["--net"]],
    ["user and network namespace", ["--user", "--map-current-user", "--net"]],
  ] as const) {
    for (const less of privileges) {
      const wrap: Sandbox["wrap"] = (program, args) => [
        unshare,
        [...namespaces, "--", ...less, ...(less.length === 0 ? [] : ["--"]), program, ...args],
      ];
      const [file, args] = wrap(readlink, ["/proc/self/ns/net"]);
      const probe = spawnSync(file, args, { encoding: "utf8", timeout: PROBE_TIME, env: {} });
      const theirs = probe.stdout?.trim();
      if (probe.status === 0 && /^net:\[\d+\]$/.test(theirs) && theirs !== ours)
        return { how: less.length === 0 ? how : `${how}, no new privileges`, wrap };
    }
  }
  return null;
}

/** For children that keep the network: exec can give them no more rights than they have (no_new_privs in prctl(2)). */
export function findNoNewPrivileges(): Sandbox | null {
  // A service manager that set it for us set it for our children as well.
  if (hasNoNewPrivileges()) return { how: "no new privileges", wrap: (program, args) => [program, args] };
  const setpriv = process.platform === "linux" ? tool("setpriv") : null;
  if (setpriv === null) return null;
  if (
    spawnSync(setpriv, ["--no-new-privs", "/bin/sh", "-c", ":"], { timeout: PROBE_TIME, env: {} }).status !==
    0
  )
    return null;
  return {
    how: "no new privileges",
    wrap: (program, args) => [setpriv, ["--no-new-privs", "--", program, ...args]],
  };
}

/** The network namespace of a process, as the kernel names it; null where this cannot be seen. */
export function networkOf(pid: number | "self"): string | null {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return null;
  }
}

function hasNoNewPrivileges(): boolean {
  try {
    return /^NoNewPrivs:\s1$/m.test(readFileSync("/proc/self/status", "utf8"));
  } catch {
    return false;
  }
}

function tool(name: string): string | null {
  return FOLDERS.map((folder) => `${folder}/${name}`).find((path) => existsSync(path)) ?? null;
}
