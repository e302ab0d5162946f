// What this machine is, found by looking at the running system.

import { readFileSync } from "node:fs";
import { release } from "node:os";
import { AgentError } from "../../agent/errors.ts";
import type { Libc, Platform } from "../../release/platform.ts";

/** Errors: `agent/bad-settings` on a system that no release can be for. */
export function thisPlatform(hardware: string | null = null): Platform {
  const os = { linux: "linux", win32: "windows", darwin: "darwin" }[process.platform as string];
  const { arch } = process;
  if ((os !== "linux" && os !== "windows" && os !== "darwin") || (arch !== "x64" && arch !== "arm64")) {
    throw new AgentError("agent/bad-settings", `There are no releases for ${process.platform} on ${arch}.`, {
      platform: process.platform,
      arch,
    });
  }
  const numbers = /^(\d{1,9}(?:\.\d{1,9}){0,3})/.exec(release())?.[1] ?? null;
  return { os, arch, libc: os === "linux" ? libcOf() : null, osVersion: numbers, hardware };
}

/** The C library this program itself is loaded with; null when it cannot be told. */
function libcOf(): Libc | null {
  try {
    const maps = readFileSync("/proc/self/maps", "latin1");
    if (/\/ld-musl-[^/]+$/m.test(maps)) return "musl";
    return /\/libc(?:-[\d.]+)?\.so(?:\.6)?$/m.test(maps) ? "glibc" : null;
  } catch {
    return null;
  }
}

/** What a person types so that nobody else may use a file. */
export function privateHint(path: string, platform: string = process.platform): string {
  return platform === "win32"
    ? `icacls "${path}" /inheritance:r /grant:r *S-1-5-18:F *S-1-5-32-544:F "%USERNAME%":F`
    : `chmod 600 ${path}`;
}
