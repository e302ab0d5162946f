// `release add --cert`: artifacts are signed by the signing service first, all of them under one approval, and the signed bytes are released.

import { basename, join } from "node:path";
import { cp, mkdir, rename, rm } from "node:fs/promises";
import { toHex, toUtf8 } from "../../../core/bytes.ts";
import { makeDirectories, statOrNull, writeAtomic } from "../../../core/disk.ts";
import { digestContent } from "../../../artifact/content-digest.ts";
import { DETACHED_SUFFIX } from "../../../artifact/detached/detached.ts";
import { isRepacked, recognize } from "../../../io/archive/archive-kind.ts";
import { packArtifact } from "../../../io/archive/artifact-packer.ts";
import { withFileSource } from "../../../io/source/file.ts";
import type { SigningClient } from "../../../io/signing/client.ts";
import type { OfferedCertificate } from "../../../signing/wire/protocol.ts";
import type { Call } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { serviceSession } from "../service/client.ts";
import { isLeftAlone, signFile, type Job } from "../service/sign-file.ts";
import { kindOf } from "../service/operation.ts";
import { planOf, type Plan } from "../service/plan.ts";
import { releaseOf } from "../service/release-list.ts";

/** Where an artifact's bytes are now, and what they were before they were signed. */
export type Source = { readonly path: string; readonly before: string | null };
export type Sources = {
  readonly of: (path: string) => Source;
  /** Takes the working copies away. */
  readonly done: () => Promise<void>;
};

type Wish = { readonly product: string; readonly version: string; readonly paths: readonly string[] };
type Copy = { readonly source: string; readonly path: string; readonly plan: Plan; readonly before: string };

/** Nothing is signed: every artifact is taken as it lies there. */
const AS_IT_IS: Sources = { of: (path) => ({ path, before: null }), done: async () => {} };

/**
 * Signs working copies: programs inside, archives beside (a folder is packed first). What is signed already is left alone. Waits for
 * approvals; one of the release's root covers all. Errors: those of the service, the formats and the disk, `cli/usage`.
 */
export async function signedSources(call: Call, staging: string, wish: Wish): Promise<Sources> {
  const cert = call.text("cert");
  if (cert === undefined) {
    for (const name of ["timestamp", "release-number"])
      if (call.flag(name) || call.text(name) !== undefined)
        throw usage(`--${name} goes with --cert: nothing is signed without a certificate.`);
    return AS_IT_IS;
  }
  const { disk, random } = call.context;
  const folder = join(staging, `sign-${toHex(random.bytes(8))}`);
  await makeDirectories(disk, folder, 0o700);
  const done = (): Promise<void> => rm(folder, { recursive: true, force: true });
  try {
    const { client, offered: all } = await serviceSession(call);
    const offered = all.find((each) => each.name === cert) ?? (await client.certificate(cert));
    const copies: Copy[] = [];
    for (const [i, source] of wish.paths.entries())
      copies.push(await copyOf(call, source, join(folder, String(i)), { ...wish, offered }));
    await signAll(call, client, offered, copies, wish);
    const byPath = new Map(copies.map(({ source, path, before }) => [source, { path, before }]));
    return { of: (path) => byPath.get(path) ?? { path, before: null }, done };
  } catch (error) {
    await done();
    throw error;
  }
}

/** A copy that may be changed, with the plan for it. Its folder gives it a name of its own, so that files of one name stay apart. */
async function copyOf(
  call: Call,
  source: string,
  folder: string,
  { product, version, offered }: Wish & { readonly offered: OfferedCertificate },
): Promise<Copy> {
  const { disk, random, clock } = call.context;
  await mkdir(folder, { mode: 0o700 });
  let path = join(folder, basename(source));
  // Names are judged when it is released, by the platform that it is for.
  const { kind: taken } = await recognize(disk, source, call.flag("as-file"));
  let archive = taken !== "file";
  if (isRepacked(taken)) {
    const packed = await packArtifact(source, {
      disk,
      random,
      staging: folder,
      pieceSize: 1 << 20,
      names: "linux",
      archive: call.text("archive") === "tar.gz" ? "tar.gz" : "tar",
    });
    path = `${path}${packed.suffix}`;
    await rename(packed.path, path);
    archive = true;
  } else {
    await cp(source, path);
    const beside = `${source}${DETACHED_SUFFIX}`;
    if (archive && (await statOrNull(disk, beside)) !== null) await cp(beside, `${path}${DETACHED_SUFFIX}`);
  }
  const kind = await withFileSource(path, (bytes) => kindOf(bytes, path, archive ? "detached" : "auto"));
  if (kind === "detached" && !archive) {
    throw usage(
      `${basename(source)} is a single file of a kind that carries no signature.`,
      "Give the folder that it lies in: an archive gets its signature beside it.",
    );
  }
  const sha256 = await withFileSource(path, (bytes) => digestContent(bytes, bytes.size, ["sha256"]));
  const { options } = planOf(call, offered, true);
  const plan: Plan = {
    ...planOf(call, offered, true),
    as: archive ? "detached" : "auto",
    skipSigned: true,
    options: {
      ...options,
      product,
      "release-version": version,
      // A number that grows with every release and has room for three centuries.
      "release-number": call.text("release-number") ?? String(Math.floor(clock.now() / 1000)),
    },
  };
  return { source, path, plan, before: toHex(sha256.of("sha256")!) };
}

async function signAll(
  call: Call,
  client: SigningClient,
  offered: OfferedCertificate,
  copies: readonly Copy[],
  { product, version }: Wish,
): Promise<void> {
  const wanted: Copy[] = [];
  for (const copy of copies) {
    if (!(await isLeftAlone(call, copy.plan, copy.path))) wanted.push(copy);
    else call.context.note(`${basename(copy.source)}: signed already, left alone`);
  }
  if (wanted.length === 0) return;
  // Plans differ in how the signature is carried, and a list's entries come one by one.
  const places = await releaseOf(
    wanted.map(({ path, plan }) => ({ path, plan })),
    offered.scheme,
    call.context.random,
  );
  call.context.note(
    `asked ${offered.name} to sign ${wanted.length} file(s); if approvals are needed: upkeep service approve ${places[0]!.root}`,
  );
  const receipts = `${call.context.data}/receipts`;
  await makeDirectories(call.context.disk, receipts, 0o700);
  await Promise.all(
    wanted.map(async ({ path, plan, source }, i) => {
      const job: Job = {
        client,
        offered,
        plan,
        path,
        call,
        until: Number.POSITIVE_INFINITY,
        release: places[i]!,
      };
      const result = await signFile(job);
      if (result.state === "skipped") return;
      const receipt = `${receipts}/${product}-${version}-${i}-${basename(path)}.receipt`;
      await writeAtomic(call.context.disk, receipt, toUtf8(result.signed.receipt));
      call.context.note(`${basename(source)}: signed by ${result.signed.signer}, receipt ${receipt}`);
    }),
  );
}
