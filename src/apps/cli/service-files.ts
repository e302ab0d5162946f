// One file at the signing service: what is asked for it, and how the answer gets into it.

import { basename } from "node:path";
import { toBase64, toHex } from "../../core/bytes.ts";
import { writeAtomic } from "../../core/disk.ts";
import { merkleRoot } from "../../core/digest.ts";
import { SECOND } from "../../core/instant.ts";
import { digestContent } from "../../artifact/content-digest.ts";
import { readContainer, writeContainer } from "../../artifact/elf/container.ts";
import { looksLikeElf, readBuildId, readElfHeader } from "../../artifact/elf/header.ts";
import { PIECE_SIZE } from "../../artifact/elf/manifest.ts";
import type { AuthenticodeToBeSigned, Format, ToBeSigned } from "../../artifact/format.ts";
import { cabFormat } from "../../artifact/cab/format.ts";
import { CTL_OID } from "../../artifact/cat/catalog.ts";
import { catFormat } from "../../artifact/cat/format.ts";
import { msiFormat } from "../../artifact/msi/format.ts";
import { peFormat } from "../../artifact/pe/format.ts";
import { powershellFormat } from "../../artifact/powershell/format.ts";
import { readLayout } from "../../artifact/pe/layout.ts";
import { pageHashTable } from "../../artifact/pe/page-hashes.ts";
import { writeRewrite } from "../../artifact/rewrite.ts";
import type { ByteSource } from "../../artifact/source.ts";
import { openSource, replaceFile } from "../../io/file-source.ts";
import type { SignedFile, SigningClient, SignWish } from "../../io/signing-client.ts";
import { inclusionProof } from "../../signing/audit/proof.ts";
import { SigningError } from "../../signing/errors.ts";
import type { OfferedCertificate } from "../../signing/protocol.ts";
import {
  digestWord,
  listLeaf,
  listRoot,
  type ListedFile,
  type Membership,
  type Operation,
} from "../../signing/request.ts";
import type { Scheme } from "../../keys/scheme.ts";
import type { Call } from "./command.ts";
import { usage } from "./errors.ts";
import { toBeSigned } from "./to-be-signed.ts";

/** A TUF file and its kind; larger things are not for raw signing. */
const MAX_RAW = 512 * 1024;
const POLL = 2 * SECOND;

export type Algorithm = "sha256" | "sha384" | "sha512";
/** What to do with each file; kept in a .pending file, so that `wait` does the same. */
export type Plan = {
  readonly cert: string;
  readonly as: string;
  readonly algorithm: Algorithm;
  readonly mode: "new" | "replace" | "append";
  readonly timestamp: boolean;
  readonly pageHashes: boolean;
  readonly options: { readonly [name: string]: string };
};
export type Resume = { readonly request: string; readonly signer: string };
export type Job = {
  readonly client: SigningClient;
  readonly offered: OfferedCertificate;
  readonly plan: Plan;
  readonly path: string;
  readonly release?: Membership;
  readonly resume?: Resume;
  readonly id?: string;
  /** Null: do not wait for approvals. */
  readonly until: number | null;
  readonly call: Call;
};

/** Thrown through the format's own code when a request has to wait. */
export class Waiting extends SigningError {
  readonly resume: Resume;

  constructor(resume: Resume, needed: number, have: number) {
    super("signing/pending", `It waits for ${needed - have} of ${needed} approvals.`, {
      request: resume.request,
      needed,
      have,
    });
    this.resume = resume;
  }
}

type Kind = Format | "elf" | "detached" | "raw";

async function kindOf(source: ByteSource, name: string, as: string): Promise<Kind> {
  if (as === "raw" || as === "detached") return as;
  const head = new Uint8Array(Math.min(512, source.size));
  await source.read(0, head);
  const format = AUTHENTICODE.find((each) => each.matches(head, name.toLowerCase()));
  if (format !== undefined) return format;
  return looksLikeElf(head) ? "elf" : "detached";
}

export async function signFile(job: Job): Promise<SignedFile> {
  const source = await openSource(job.path);
  try {
    const kind = await kindOf(source, basename(job.path), job.plan.as);
    const whole = await digestContent(source, source.size, ["sha256"]);
    const file = { name: basename(job.path), length: source.size, sha256: toHex(whole.of("sha256")!) };
    const ask = (operation: Operation, indirectData?: Uint8Array): Promise<SignedFile> =>
      obtain(job, {
        certificate: job.plan.cert,
        operation,
        file,
        ...(job.release === undefined ? {} : { release: job.release }),
        ...(indirectData === undefined ? {} : { indirectData }),
        ...(job.id === undefined ? {} : { id: job.id }),
      });
    if (typeof kind === "object") return await signInside(job, kind, ask);
    const operation = await operationOf(kind, source, job.plan, job.offered);
    const signed = await ask(operation);
    if (kind === "elf") await attachElf(job.path, operation, signed.reply);
    else await writeAtomic(job.call.context.disk, `${job.path}.sig`, signed.reply);
    return signed;
  } finally {
    await source.close();
  }
}

/** Asks, and waits for approvals as long as the job allows. */
async function obtain(job: Job, wish: SignWish): Promise<SignedFile> {
  const { client, offered, until, call } = job;
  const { clock, signal } = call.context;
  let outcome =
    job.resume === undefined
      ? await client.sign(wish, offered)
      : await client.status(job.resume.request, job.resume.signer, wish, offered);
  while (outcome.state === "pending") {
    if (until === null || clock.monotonic() + POLL > until) {
      throw new Waiting({ request: outcome.request, signer: outcome.signer }, outcome.needed, outcome.have);
    }
    await clock.sleep(POLL, signal);
    outcome = await client.status(outcome.request, outcome.signer, wish, offered);
  }
  return outcome;
}

/** Formats whose signature the signer builds from a digest and what the format says about itself. */
const AUTHENTICODE: readonly Format[] = [peFormat, msiFormat, cabFormat, catFormat, powershellFormat];
type AuthenticodeOperation = Extract<Operation, { kind: "authenticode" }>;

async function signInside(
  job: Job,
  format: Format,
  ask: (operation: Operation, indirectData: Uint8Array) => Promise<SignedFile>,
): Promise<SignedFile> {
  const { path, plan } = job;
  let signed: SignedFile | null = null;
  await replaceFile(path, path, async (source, sink, written) => {
    const { digest } = await format.sign({
      source,
      sink,
      mode: plan.mode,
      hash: plan.algorithm,
      ...(plan.pageHashes ? { pageHashes: "sha256" as const } : {}),
      makeSignature: async (what) => {
        const wanted = authenticodeOf(what);
        signed = await ask(await authenticodeOperation(wanted, source, plan), wanted.indirectData);
        return signed.reply;
      },
    });
    // What was written is hashed again: the signature is of the bytes on the disk, not of those in memory.
    const { digest: again } = await authenticodeOfFile(format, await written(), plan);
    if (toHex(again) !== toHex(digest)) throw changed(path);
  });
  return signed!;
}

async function authenticodeOfFile(
  format: Format,
  source: ByteSource,
  { algorithm }: Plan,
): Promise<AuthenticodeToBeSigned> {
  return authenticodeOf(await toBeSigned(format, source, { hash: algorithm }));
}

function authenticodeOf(what: ToBeSigned): AuthenticodeToBeSigned {
  if (what.kind === "authenticode") return what;
  throw new SigningError(
    "signing/refused",
    `The signing service does not build the signatures of ${what.format} files.`,
  );
}

async function authenticodeOperation(
  what: AuthenticodeToBeSigned,
  source: ByteSource,
  { timestamp, pageHashes, options }: Plan,
): Promise<Operation> {
  const pages =
    pageHashes && what.format === "pe"
      ? await pageHashTable(source, await readLayout(source), "sha256")
      : null;
  return {
    kind: "authenticode",
    format: what.format as AuthenticodeOperation["format"],
    algorithm: what.hash,
    digest: toHex(what.digest),
    timestamp,
    ...contentOf(what),
    ...(pages === null ? {} : { pageHashes: { algorithm: "sha256", table: toBase64(pages) } }),
    ...(options["description"] === undefined ? {} : { description: options["description"] }),
    ...(options["url"] === undefined ? {} : { url: options["url"] }),
    ...(what.sequenceNumber === null ? {} : { sequence: what.sequenceNumber }),
  };
}

/** What the signer cannot make itself: the indirect data of most formats, the type of a catalog's list. */
function contentOf(what: AuthenticodeToBeSigned): Partial<AuthenticodeOperation> {
  if (what.contentType === CTL_OID) return { contentType: CTL_OID };
  return what.format === "pe" ? {} : { indirectData: toBase64(what.indirectData) };
}

async function operationOf(
  kind: Kind,
  source: ByteSource,
  plan: Plan,
  offered: OfferedCertificate,
): Promise<Operation> {
  const { algorithm, timestamp, options } = plan;
  if (kind === "raw") {
    if (source.size > MAX_RAW) throw usage(`Raw signing is for at most ${MAX_RAW} bytes.`);
    const message = new Uint8Array(source.size);
    await source.read(0, message);
    const purpose = options["purpose"];
    if (purpose === undefined) throw usage("Raw signing needs a --purpose, such as tuf/targets.");
    return {
      kind: "raw",
      scheme: (options["scheme"] ?? offered.scheme) as Scheme,
      message: toBase64(message),
      purpose,
    };
  }
  if (typeof kind === "object")
    return authenticodeOperation(await authenticodeOfFile(kind, source, plan), source, plan);
  // RSA keys sign ELF and detached content over SHA-512, elliptic ones over what goes with their curve.
  const hash: Algorithm = offered.scheme.startsWith("ecdsa-") ? algorithm : "sha512";
  if (kind === "detached") {
    const digests = await digestContent(source, source.size, [hash]);
    return { kind: "cms", algorithm: hash, digest: toHex(digests.of(hash)!), timestamp };
  }
  const container = await readContainer(source);
  if (container !== null && plan.mode === "new") {
    throw new SigningError(
      "signing/refused",
      "The file is signed already.",
      {},
      { hint: "--replace takes the signature's place." },
    );
  }
  const length = container?.contentSize ?? source.size;
  const header = await readElfHeader(source, length);
  const digests = await digestContent(source, length, [hash], PIECE_SIZE);
  const buildId = await readBuildId(source, header);
  const [product, version, release] = [
    options["product"],
    options["release-version"],
    options["release-number"],
  ];
  if (product === undefined || version === undefined || release === undefined) {
    throw usage(
      "An ELF signature says which product it is: give --product, --release-version and --release-number.",
      "Or sign it with --as detached.",
    );
  }
  return {
    kind: "elf",
    algorithm: hash,
    digest: toHex(digests.of(hash)!),
    timestamp,
    manifest: {
      product,
      version,
      release: Number(release),
      os: header.os,
      arch: header.arch,
      length,
      merkleRoot: digests.merkleRoot!,
      ...(options["channel"] === undefined ? {} : { channel: options["channel"] }),
      ...(buildId === null ? {} : { buildId: toHex(buildId) }),
    },
  };
}

async function attachElf(path: string, operation: Operation, cms: Uint8Array): Promise<void> {
  if (operation.kind !== "elf") throw new Error("not an ELF operation");
  const { length } = operation.manifest;
  await replaceFile(path, path, async (source, sink, written) => {
    await writeRewrite(source, [{ offset: 0, size: length }, writeContainer(cms)], sink);
    const digests = await digestContent(await written(), length, [operation.algorithm]);
    if (toHex(digests.of(operation.algorithm)!) !== operation.digest) throw changed(path);
  });
}

function changed(path: string): SigningError {
  return new SigningError(
    "signing/bad-reply",
    `${path} was changed while it was signed; nothing was replaced.`,
    { path },
  );
}

/** The places of all files in one list. */
export async function releaseOf(
  files: readonly string[],
  plan: Plan,
  offered: OfferedCertificate,
): Promise<readonly Membership[]> {
  const listed: ListedFile[] = [];
  for (const path of files) {
    const source = await openSource(path);
    try {
      const operation = await operationOf(
        await kindOf(source, basename(path), plan.as),
        source,
        plan,
        offered,
      );
      listed.push({
        certificate: plan.cert,
        operation: operation.kind,
        name: basename(path),
        digest: digestWord(operation),
      });
    } finally {
      await source.close();
    }
  }
  const leaves = listed.map(listLeaf);
  const subtree = (level: number, index: number): Uint8Array =>
    merkleRoot(leaves.slice(index * 2 ** level, (index + 1) * 2 ** level));
  const root = listRoot(listed);
  return listed.map((_, index) => ({
    root,
    size: listed.length,
    index,
    proof: inclusionProof(subtree, index, listed.length).map(toHex),
  }));
}
