// What `verify` does.

import { basename, resolve } from "node:path";
import { sameDigest, RunningDigests } from "../../../core/digest.ts";
import { statOrNull } from "../../../core/disk.ts";
import { Draft } from "../../../repository/publish/draft.ts";
import { inspectRepository, type Inspection } from "../../../repository/publish/inspect.ts";
import { PublisherError } from "../../../repository/publish/publisher-errors.ts";
import { readPublished } from "../../../repository/publish/published.ts";
import { parseTargetName } from "../../../release/target-names.ts";
import { readRelease, trustedKeys } from "../../../repository/publish/release-reader.ts";
import { formatSelector } from "../../../release/platform.ts";
import { sha256Hex } from "../../../core/digest.ts";
import type { Call, Result } from "../../framework/command.ts";
import { CliError, usage } from "../../framework/errors.ts";
import { EXIT } from "../../framework/exit-codes.ts";
import { count, size } from "../../framework/style.ts";

/** A repository folder, or a file that a repository lists. */
export async function verifyListed(call: Call, given: string): Promise<Result> {
  const { context } = call;
  const path = resolve(given);
  const stat = await statOrNull(context.disk, path);
  if (stat === null) throw new CliError("cli/not-found", `There is nothing at ${path}.`, { path });
  if (stat.kind === "directory") return verifyFolder(call, path);
  return verifyFile(call, path, stat.size);
}

async function verifyFolder(call: Call, folder: string): Promise<Result> {
  const { context } = call;
  if ((await statOrNull(context.disk, `${folder}/metadata`)) === null) {
    throw new CliError(
      "cli/not-found",
      `${folder} is not a repository: it has no metadata folder.`,
      { folder },
      { hint: "A folder is verified as a repository; give the file itself to look up an artifact." },
    );
  }
  const found = await inspectRepository(context.disk, folder, context.clock.now());
  pinRoot(call, found.repository);
  return describeInspection(call, found);
}

/** Shared with `repo doctor`. */
export function describeInspection(call: Call, found: Inspection): Result {
  const { good, bad, warn } = call.context.style;
  const wrong = found.findings.filter((finding) => finding.level === "bad");
  const lines = found.findings.map(
    ({ level, what, message }) => `${level === "bad" ? bad("✗") : warn("!")} ${what}: ${message}`,
  );
  lines.push(
    wrong.length === 0
      ? good(
          `verified: ${count(found.roots, "root")}, ${count(found.roles, "role")}, ${count(found.targets, "target")} (${size(found.bytes)})`,
        )
      : bad(`${count(wrong.length, "thing")} did not verify`),
  );
  if (wrong.length === 0) lines.push(`trust begins at its first root, SHA-256 ${found.repository!}`);
  return {
    text: lines.join("\n"),
    json: { verified: wrong.length === 0, ...found },
    exit: wrong.length === 0 ? EXIT.ok : EXIT["verify-failed"],
  };
}

async function verifyFile(call: Call, path: string, length: number): Promise<Result> {
  const { context } = call;
  const folder = resolve(call.text("repository") ?? `${context.data}/repository`);
  const published = await readPublished(context.disk, folder).catch((error: unknown) => {
    // Nobody asked for a repository: what is wrong is the file.
    const unasked = call.text("repository") === undefined && call.text("root-sha256") === undefined;
    if (!unasked || !(error instanceof PublisherError) || error.code !== "publisher/missing") throw error;
    throw new CliError(
      "cli/verify-failed",
      `${path} cannot be verified: it is of no format that carries a signature, there is none beside it (${basename(path)}.sig), and no repository here could list it.`,
      { path, folder },
      { hint: "--signature names a signature elsewhere, --repository a repository that lists the file." },
    );
  });
  pinRoot(call, sha256Hex(published.roots[0]!.bytes));
  const digests = new RunningDigests();
  const bar = context.progress("reading", length);
  const file = await context.disk.open(path, "read");
  try {
    while (digests.length < length) {
      const part = await file.read(digests.length, 1 << 20);
      if (part.length === 0) break;
      digests.update(part);
      bar.advance(part.length);
    }
  } finally {
    await file.close();
    bar.done();
  }
  const { sha256, sha512 } = digests.digests();
  const draft = new Draft(published, published.root.signed);
  const tools = { disk: context.disk, folder };
  const roles = ["targets", ...(await draft.delegatedRoles()).map((role) => role.name)];
  for (const role of roles) {
    for (const [name, listed] of await draft.allTargets(role)) {
      if (listed.hashes["sha256"] !== sha256 || listed.length !== digests.length) continue;
      if (listed.hashes["sha512"] !== undefined && !sameDigest(listed.hashes["sha512"], sha512)) continue;
      const parsed = parseTargetName(name);
      let of = name;
      if (parsed?.kind === "artifact" || parsed?.kind === "release") {
        const { manifest } = await readRelease(
          tools,
          draft,
          await trustedKeys(tools, draft),
          parsed.product,
          parsed.version,
        );
        const artifact = manifest.artifacts.find(
          (one) => one.target === name || one.signature?.target === name,
        );
        if (artifact !== undefined) {
          const what = artifact.target === name ? "" : "the signature beside ";
          of = `${what}${manifest.product} ${manifest.version} for ${formatSelector(artifact)}`;
        }
      }
      return {
        text: [
          context.style.good(`verified: ${path} is ${of}`),
          `listed by ${role} as ${name}`,
          `SHA-256 ${sha256}`,
        ].join("\n"),
        json: { verified: true, is: of, target: name, role, sha256, length: digests.length },
      };
    }
  }
  throw new CliError(
    "cli/verify-failed",
    `${path} is not a file that this repository lists: it was changed, or it never came from here.`,
    { path, sha256, length: digests.length },
  );
}

function pinRoot(call: Call, found: string | null): void {
  const wanted = call.text("root-sha256");
  if (wanted === undefined) return;
  if (!/^[0-9a-f]{64}$/.test(wanted)) throw usage("--root-sha256 takes 64 lower-case hex digits.");
  if (found !== null && sameDigest(wanted, found)) return;
  throw new CliError(
    "cli/verify-failed",
    "The repository begins at another root than the one you named: either you are under attack, or it is another repository.",
    { wanted, found },
  );
}
