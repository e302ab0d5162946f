// Makes one executable of a program: its code in one bundle, inside a Node.js. The same checkout gives the same bytes.

import { execFile } from "node:child_process";
import { chmod, copyFile, mkdtemp, rename, rm, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { removePe } from "../../../artifact/pe/sign.ts";
import { replaceFile } from "../../../io/source/file.ts";
import { CliError } from "../../framework/errors.ts";
import { nodeProgram, ownTarget, type Target } from "./node-program.ts";

/** Where Node looks for the blob; a constant of its format. In two parts, because the program it is put into may hold this very code. */
const FUSE = ["NODE_SEA_FUSE", "fce680ab2cc467b6e072b8b5df1996b2"].join("_");
/** V8 seeds the hashes of its code cache by chance, unless it is given a seed; the flag does not count when the cache is loaded. */
const SAME_CACHE = "--random-seed=1";
export const STEPS = 4;

export type Wanted = {
  /** The file whose code runs, without top-level await: Node.js 24 takes CommonJS only. */
  readonly entry: string;
  readonly version: string;
  readonly target: Target;
  readonly out: string;
  /** Modules that stay outside, and so cannot be loaded by the executable. */
  readonly external: readonly string[];
  readonly assets: { readonly [name: string]: string };
  /** Called after each of `STEPS` steps. */
  readonly step: () => void;
};

/** Returns the size of `out` in bytes. Errors: `cli/not-found` without esbuild, `cli/failed`, those of `nodeProgram`. */
export async function makeExecutable(wanted: Wanted): Promise<number> {
  const work = await mkdtemp(join(tmpdir(), "upkeep-executable-"));
  try {
    await bundle(wanted, join(work, "program.cjs"));
    wanted.step();
    await makeBlob(wanted, work);
    wanted.step();
    const program = join(work, "program");
    await bareNode(wanted.target, program, work);
    wanted.step();
    await inject(program, join(work, "program.blob"));
    const beside = join(dirname(wanted.out), `.upkeep-build-${process.pid}`);
    await copyFile(program, beside);
    await rename(beside, wanted.out);
    wanted.step();
    return (await stat(wanted.out)).size;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function bundle({ entry, version, external }: Wanted, file: string): Promise<void> {
  const { build } = await import("esbuild").catch((cause: unknown) => {
    throw new CliError(
      "cli/not-found",
      "esbuild is not installed; executables are built from a checkout of Upkeep.",
      {},
      { cause },
    );
  });
  await build({
    entryPoints: [entry],
    outfile: file,
    bundle: true,
    minify: true,
    platform: "node",
    target: "node24",
    format: "cjs",
    logLevel: "error",
    external: [...external],
    define: { UPKEEP_VERSION: JSON.stringify(version), "import.meta.url": '"file:///upkeep/program"' },
  });
}

async function makeBlob({ target, assets }: Wanted, work: string): Promise<void> {
  for (const [name, text] of Object.entries(assets)) await writeFile(join(work, name), text);
  const config = {
    main: "program.cjs",
    output: "program.blob",
    disableExperimentalSEAWarning: true,
    // Compiled code fits the platform that compiled it only.
    useCodeCache: target === ownTarget(),
    execArgv: ["--disable-sigusr1"],
    // A signed program takes no code from NODE_OPTIONS and opens no debugger.
    execArgvExtension: "none",
    ...(Object.keys(assets).length === 0
      ? {}
      : { assets: Object.fromEntries(Object.keys(assets).map((name) => [name, name])) }),
  };
  await writeFile(join(work, "sea.json"), JSON.stringify(config));
  await run(
    [process.execPath],
    [SAME_CACHE, "--experimental-sea-config", "sea.json"],
    "Node.js could not prepare the program's code.",
    work,
  );
}

/** Stripped and without its maker's signature, before the code goes in: done afterwards, either would break the program. */
async function bareNode(target: Target, program: string, work: string): Promise<void> {
  const node = await nodeProgram(target, work);
  if (target === "windows-x64") return void (await replaceFile(node, program, removePe));
  await copyFile(node, program);
  await chmod(program, 0o755);
  const own = target === ownTarget();
  const tools = own ? ["strip"] : ["aarch64-linux-gnu-strip", "llvm-strip"];
  const packages = own ? "binutils" : "binutils-aarch64-linux-gnu or llvm";
  await run(tools, [program], `${tools.join(" or ")} (Debian: ${packages}) is needed for ${target}.`);
}

async function inject(program: string, blob: string): Promise<void> {
  const cli = createRequire(import.meta.url).resolve("postject/dist/cli.js");
  const words = [cli, program, "NODE_SEA_BLOB", blob, "--sentinel-fuse", FUSE];
  await run([process.execPath], words, "The code could not be put into the executable (postject).");
}

/** Runs the first of `programs` that is installed. */
async function run(
  programs: readonly string[],
  words: readonly string[],
  failure: string,
  cwd?: string,
): Promise<void> {
  for (const [index, program] of programs.entries()) {
    const ended = await ran(program, words, cwd);
    if (ended === null) return;
    const missing = (ended.cause as NodeJS.ErrnoException).code === "ENOENT";
    if (missing && index < programs.length - 1) continue;
    throw new CliError("cli/failed", failure, { said: ended.said.slice(-2000) }, { cause: ended.cause });
  }
}

function ran(
  program: string,
  words: readonly string[],
  cwd: string | undefined,
): Promise<{ readonly cause: Error; readonly said: string } | null> {
  const options = { timeout: 300_000, maxBuffer: 64 << 20, ...(cwd === undefined ? {} : { cwd }) };
  return new Promise((done) => {
    execFile(program, [...words], options, (cause, _out, said) =>
      done(cause === null ? null : { cause, said }),
    );
  });
}
