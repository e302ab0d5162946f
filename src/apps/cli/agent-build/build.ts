// What `agent build` does: bundle, make the blob, strip a copy of Node, put the blob in. Signing comes after, as the last step.

import { execFile } from "node:child_process";
import { chmod, copyFile, mkdtemp, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { moduleBeside } from "../../../core/module-beside.ts";
import { fromUtf8, toUtf8 } from "../../../core/bytes.ts";
import { formatInstant } from "../../../core/instant.ts";
import { certificatePem, parseCertificatesPem, spkiPin } from "../../../der/x509.ts";
import { imagePublisher, PUBLISHER_ASSET } from "../../agent/self-check.ts";
import type { Call, Result } from "../../framework/command.ts";
import { CliError, usage } from "../../framework/errors.ts";
import { size } from "../../framework/style.ts";

/** Where Node looks for the blob; a constant of its single-executable format. */
const FUSE = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";

export async function agentBuild(call: Call): Promise<Result> {
  const { context } = call;
  const out = resolve(call.needed("out"));
  const publisher = await publisherOf(call);
  const version = await programVersion();
  const work = await mkdtemp(join(tmpdir(), "upkeep-agent-build-"));
  try {
    const bar = context.progress("building", 4);
    await bundle(join(work, "agent.cjs"), version);
    bar.advance(1);
    await makeBlob(work, publisher);
    bar.advance(1);
    const program = join(work, "upkeep-agent");
    await copyFile(process.execPath, program);
    await chmod(program, 0o755);
    // Before the blob goes in: stripping afterwards would break the program.
    if (process.platform === "linux")
      await run("strip", [program], "strip (Debian: binutils) is needed to build the agent.");
    bar.advance(1);
    await inject(program, join(work, "agent.blob"));
    bar.done();
    const beside = join(dirname(out), `.upkeep-agent-${process.pid}`);
    await copyFile(program, beside);
    await rename(beside, out);
    const bytes = (await stat(out)).size;
    return {
      text: [
        `${out}: upkeep-agent ${version} for ${process.platform}-${process.arch}, ${size(bytes)}`,
        publisher === null
          ? "built for no publisher: it cannot check itself at start; give --publisher-cert for devices that matter"
          : "it runs only with its publisher's signature: sign it now with upkeep sign",
      ].join("\n"),
      json: { file: out, version, bytes, checksItself: publisher !== null },
    };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function publisherOf(call: Call): Promise<string | null> {
  const [chain, root] = [call.text("publisher-cert"), call.text("publisher-root")];
  if (chain === undefined && root === undefined) return null;
  if (chain === undefined || root === undefined)
    throw usage("--publisher-cert and --publisher-root belong together.");
  const certificates = async (file: string) => {
    const found = parseCertificatesPem(fromUtf8(await readFile(resolve(file))));
    if (found.length === 0) throw usage(`${file} holds no certificate in PEM form.`);
    return found;
  };
  const [leaf] = await certificates(chain);
  const roots = toUtf8((await certificates(root)).map(certificatePem).join(""));
  return imagePublisher(roots, [spkiPin(leaf!)], formatInstant(call.context.clock.now()));
}

async function bundle(file: string, version: string): Promise<void> {
  const { build } = await import("esbuild").catch((cause: unknown) => {
    throw new CliError(
      "cli/not-found",
      "esbuild is not installed; the agent is built from a checkout of Upkeep.",
      {},
      { cause },
    );
  });
  await build({
    entryPoints: [moduleBeside("../../agent/main", import.meta.url).pathname],
    outfile: file,
    bundle: true,
    minify: true,
    platform: "node",
    target: "node24",
    format: "cjs",
    logLevel: "error",
    // What only the operator's programs need of what the table's commands name.
    external: ["koffi", "esbuild"],
    define: { UPKEEP_VERSION: JSON.stringify(version), "import.meta.url": '"file:///upkeep-agent"' },
  });
}

async function makeBlob(work: string, publisher: string | null): Promise<void> {
  if (publisher !== null) await writeFile(join(work, PUBLISHER_ASSET), publisher);
  const config = {
    main: "agent.cjs",
    output: "agent.blob",
    disableExperimentalSEAWarning: true,
    useCodeCache: true,
    execArgv: ["--disable-sigusr1"],
    // A signed agent takes no code from NODE_OPTIONS and opens no debugger.
    execArgvExtension: "none",
    ...(publisher === null ? {} : { assets: { [PUBLISHER_ASSET]: PUBLISHER_ASSET } }),
  };
  await writeFile(join(work, "sea.json"), JSON.stringify(config));
  await run(
    process.execPath,
    ["--experimental-sea-config", "sea.json"],
    "Node.js could not make the agent's blob.",
    work,
  );
}

async function inject(program: string, blob: string): Promise<void> {
  const cli = createRequire(import.meta.url).resolve("postject/dist/cli.js");
  const words = [cli, program, "NODE_SEA_BLOB", blob, "--sentinel-fuse", FUSE];
  await run(process.execPath, words, "The agent's code could not be put into the executable (postject).");
}

function run(program: string, words: readonly string[], failure: string, cwd?: string): Promise<void> {
  return new Promise((done, fail) => {
    execFile(
      program,
      [...words],
      { timeout: 300_000, maxBuffer: 64 << 20, ...(cwd === undefined ? {} : { cwd }) },
      (cause, _out, said) => {
        if (cause === null) done();
        else fail(new CliError("cli/failed", failure, { said: said.slice(-2000) }, { cause }));
      },
    );
  });
}

async function programVersion(): Promise<string> {
  const text = await readFile(new URL("../../../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
