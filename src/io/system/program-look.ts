// Looks at a program as the kernel will: its header, its permission, and the interpreter or loader it asks for. Nothing is run.

import { constants } from "node:fs";
import { access, open, readFile, realpath, stat } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import type { ProgramToLookAt, Unfit } from "../../process/ports.ts";
import { cannotRun, PROGRAM_HEAD, programKind, type ProgramKind } from "../../release/program-header.ts";

const SYSTEMS = { linux: "linux", win32: "windows", darwin: "darwin" } as const;
const ARCHITECTURES = { x64: "x64", arm64: "arm64" } as const;
/** bprm_execve of Linux: a script's interpreter may be a script, this often. */
const DEEPEST = 5;
/** What execvp takes for PATH when there is none. */
const DEFAULT_PATH = "/usr/bin:/bin";

/** Null if the program can be started here and now. */
export async function lookAtProgram(asked: ProgramToLookAt): Promise<Unfit | null> {
  const path = await nameOnDisk(asked.program);
  const found = await examine(path);
  if ("code" in found) return found;
  const wrong = cannotRun(found.file, platform());
  if (wrong !== null)
    return {
      code: "process/wrong-program",
      reason: `${asked.program} cannot be started on ${process.platform} ${process.arch}: ${wrong}.`,
    };
  if (process.platform === "win32") return null;
  if ((found.mode & 0o111) === 0)
    return { code: "process/wrong-program", reason: `${asked.program} is not marked as executable.` };
  const barred = await whyNotExecutable(path);
  if (barred !== null)
    return {
      code: "process/cannot-start",
      reason: `${asked.program} cannot be started here: ${barred.reason}.`,
      hint: barred.hint,
    };
  const missing = await whatIsMissing(found.file, asked, DEEPEST);
  if (missing === null) return null;
  return { code: "process/cannot-start", reason: `${asked.program} cannot be started here: ${missing}.` };
}

function platform(): {
  readonly os: "linux" | "windows" | "darwin" | "any";
  readonly arch: "x64" | "arm64" | "any";
} {
  const os = SYSTEMS[process.platform as keyof typeof SYSTEMS] ?? "any";
  return { os, arch: ARCHITECTURES[process.arch as keyof typeof ARCHITECTURES] ?? "any" };
}

/** Windows looks a program without extension up with .exe as well. */
async function nameOnDisk(program: string): Promise<string> {
  if (process.platform !== "win32") return program;
  return stat(program).then(
    () => program,
    () => `${program}.exe`,
  );
}

async function examine(path: string): Promise<Unfit | { readonly file: ProgramKind; readonly mode: number }> {
  try {
    const handle = await open(path, "r");
    try {
      const found = await handle.stat();
      if (!found.isFile())
        return {
          code: "process/wrong-program",
          reason: `${path} is no plain file, so it cannot be started.`,
        };
      const head = Buffer.alloc(PROGRAM_HEAD);
      const { bytesRead } = await handle.read(head, 0, PROGRAM_HEAD, 0);
      return { file: programKind(head.subarray(0, bytesRead)), mode: found.mode };
    } finally {
      await handle.close();
    }
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "unknown";
    // What is not there at all was never part of the release.
    if (code === "ENOENT" || code === "EISDIR" || code === "ENOTDIR")
      return { code: "process/wrong-program", reason: `${path} is not there, so it cannot be started.` };
    return {
      code: "process/cannot-start",
      reason: `${path} cannot be read to see whether it can be started (${code}).`,
    };
  }
}

/** Asked of the kernel, which knows of mounts and of every folder on the way; null if it would execute the file. */
async function whyNotExecutable(
  path: string,
): Promise<{ readonly reason: string; readonly hint: string } | null> {
  try {
    await access(path, constants.X_OK);
    return null;
  } catch {
    const mount = await noexecMount(path);
    if (mount !== null)
      return {
        reason: `the file system at ${mount} is mounted noexec`,
        hint: `Mount ${mount} without noexec (mount -o remount,exec ${mount}), or put the agent's data folder elsewhere.`,
      };
    return {
      reason: `this user may not execute ${path}`,
      hint: "Look at the permissions of the file and of the folders above it.",
    };
  }
}

/** The mount below which the file lies, if it is mounted noexec; null also where that cannot be seen. */
async function noexecMount(path: string): Promise<string | null> {
  try {
    const real = await realpath(path);
    let best: { readonly at: string; readonly noexec: boolean } | null = null;
    // proc(5) mountinfo: the 5th field is the place, with blanks in octal, the 6th the options. Later lines lie over earlier ones.
    for (const line of (await readFile("/proc/self/mountinfo", "utf8")).split("\n")) {
      const [, , , , place, options] = line.split(" ");
      if (place === undefined || options === undefined) continue;
      const at = place.replaceAll(/\\([0-7]{3})/g, (_, digits: string) =>
        String.fromCharCode(Number.parseInt(digits, 8)),
      );
      const above = at === "/" || real === at || real.startsWith(`${at}/`);
      if (above && (best === null || at.length >= best.at.length))
        best = { at, noexec: options.split(",").includes("noexec") };
    }
    return best?.noexec === true ? best.at : null;
  } catch {
    return null;
  }
}

/** What the program needs and this machine does not have, in words; null if nothing is seen to be missing. */
async function whatIsMissing(
  file: ProgramKind,
  asked: ProgramToLookAt,
  depth: number,
): Promise<string | null> {
  if (file.kind === "native")
    return file.loader === null || (await isThere(file.loader))
      ? null
      : `it needs the loader ${file.loader}, which is not on this device`;
  if (file.kind !== "script") return null;
  const path = isAbsolute(file.interpreter) ? file.interpreter : join(asked.cwd, file.interpreter);
  const here = `its interpreter ${JSON.stringify(file.interpreter)}`;
  if (depth === 0) return `${here} leads from script to script`;
  const found = await examine(path);
  if ("code" in found)
    return found.code === "process/wrong-program"
      ? `${here} is not on this device`
      : `${here} cannot be read`;
  const wrong = cannotRun(found.file, platform());
  if (wrong !== null) return `${here} is of no use: ${wrong}`;
  const barred =
    (found.mode & 0o111) === 0 ? "it is not executable" : ((await whyNotExecutable(path))?.reason ?? null);
  if (barred !== null) return `${here} may not be executed: ${barred}`;
  const sought = /(?:^|\/)env$/.test(file.interpreter) ? soughtByEnv(file.argument) : null;
  if (sought !== null && !(await isInPath(sought, asked)))
    return `its interpreter ${JSON.stringify(sought)} is in no folder of the PATH that it is given`;
  return whatIsMissing(found.file, asked, depth - 1);
}

/** The program that `env` is to find; null where its options say more than this understands. */
function soughtByEnv(argument: string | null): string | null {
  if (argument === null) return null;
  const words = argument.startsWith("-S")
    ? argument
        .slice(2)
        .trim()
        .split(/[ \t]+/)
    : [argument];
  if (words.some((word) => /["'\\$]/.test(word))) return null;
  const word = words.find((one) => !/^[A-Za-z_][A-Za-z0-9_]*=/.test(one)) ?? "";
  return /^[^-].*$/.test(word) ? word : null;
}

async function isInPath(name: string, { cwd, env }: ProgramToLookAt): Promise<boolean> {
  if (name.includes("/")) return isThere(isAbsolute(name) ? name : join(cwd, name));
  for (const folder of (env["PATH"] ?? DEFAULT_PATH).split(":")) {
    const path = join(folder === "" ? cwd : isAbsolute(folder) ? folder : join(cwd, folder), name);
    const executable = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (executable && (await stat(path)).isFile()) return true;
  }
  return false;
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
