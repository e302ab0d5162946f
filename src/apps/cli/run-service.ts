// What the verbs of `service` do.

import { basename, dirname, resolve } from "node:path";
import { readFile, rename, rm, stat } from "node:fs/promises";
import { toBase64, toHex, toUtf8 } from "../../core/bytes.ts";
import { writeAtomic } from "../../core/disk.ts";
import { merkleRoot } from "../../core/digest.ts";
import { UpkeepError } from "../../core/errors.ts";
import { HOUR, SECOND } from "../../core/instant.ts";
import { isJsonObject, parseJson } from "../../core/json.ts";
import { digestContent } from "../../artifact/content-digest.ts";
import { readContainer, writeContainer } from "../../artifact/elf/container.ts";
import { looksLikeElf, readBuildId, readElfHeader } from "../../artifact/elf/header.ts";
import { PIECE_SIZE } from "../../artifact/elf/manifest.ts";
import { signPe } from "../../artifact/pe/sign.ts";
import { readLayout } from "../../artifact/pe/layout.ts";
import { pageHashTable } from "../../artifact/pe/page-hashes.ts";
import { scanImage } from "../../artifact/pe/scan.ts";
import { writeRewrite } from "../../artifact/rewrite.ts";
import type { ByteSource } from "../../artifact/source.ts";
import { openSink, openSource } from "../../io/byte-file.ts";
import type { SignedFile, SigningClient, SignWish } from "../../io/signing-client.ts";
import { inclusionProof } from "../../signing/audit/proof.ts";
import { SigningError } from "../../signing/errors.ts";
import type { OfferedCertificate, PendingRequest } from "../../signing/protocol.ts";
import {
  digestWord,
  listLeaf,
  listRoot,
  type ListedFile,
  type Membership,
  type Operation,
} from "../../signing/request.ts";
import type { Scheme } from "../../keys/scheme.ts";
import type { Call, Result } from "./command.ts";
import { usage } from "./errors.ts";
import { EXIT, exitFor } from "./exit-codes.ts";
import { openService } from "./service-client.ts";
import { columns } from "./style.ts";

/** A TUF file and its kind; larger things are not for raw signing. */
const MAX_RAW = 512 * 1024;
const POLL = 2 * SECOND;

type Algorithm = "sha256" | "sha384" | "sha512";
/** What to do with each file; kept in a .pending file, so that `wait` does the same. */
type Plan = {
  readonly cert: string;
  readonly as: string;
  readonly algorithm: Algorithm;
  readonly mode: "new" | "replace" | "append";
  readonly timestamp: boolean;
  readonly pageHashes: boolean;
  readonly options: { readonly [name: string]: string };
};
type Resume = { readonly request: string; readonly signer: string };
type Job = {
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
type FileResult = { readonly file: string; readonly state: string; readonly [more: string]: unknown };

/** Thrown through the format's own code when a request has to wait. */
class Waiting extends SigningError {
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

export async function serviceSign(call: Call): Promise<Result> {
  const files = await fileNames(call);
  const { client } = await openService(call);
  try {
    const offered = await client.certificate(call.needed("cert"));
    const plan = planOf(call, offered);
    const release = call.flag("one-release") ? await releaseOf(files, plan, offered) : null;
    const id = call.text("request-id");
    if (id !== undefined && files.length > 1) throw usage("--request-id is for one file.");
    if (id !== undefined && !/^[0-9a-f]{32}$/.test(id)) throw usage("--request-id is 32 hex digits.");
    const jobs = files.map((path, i): Job => ({
      client,
      offered,
      plan,
      path,
      call,
      until: call.flag("leave-pending") ? null : Number.POSITIVE_INFINITY,
      ...(release === null ? {} : { release: release[i]! }),
      ...(id === undefined ? {} : { id }),
    }));
    const results = await all(call, jobs);
    return summary(results, await client.traffic());
  } finally {
    await client.close();
  }
}

export async function serviceWait(call: Call): Promise<Result> {
  const { client } = await openService(call);
  const { clock, disk } = call.context;
  try {
    const until = clock.monotonic() + (call.whole("timeout", 0, 30 * 86_400) ?? 86_400) * SECOND;
    const offered = new Map<string, OfferedCertificate>();
    const jobs: Job[] = [];
    for (const name of call.argumentsFrom(0)) {
      const path = resolve(name.endsWith(".pending") ? name : `${name}.pending`);
      const kept = parseJson(await disk.read(path, 64 * 1024));
      if (!isJsonObject(kept)) throw usage(`${name} is not a .pending file.`);
      const plan = kept["plan"] as unknown as Plan;
      if (!offered.has(plan.cert)) offered.set(plan.cert, await client.certificate(plan.cert));
      jobs.push({
        client,
        offered: offered.get(plan.cert)!,
        plan,
        path: path.slice(0, -".pending".length),
        resume: kept["resume"] as unknown as Resume,
        until,
        call,
      });
    }
    return summary(await all(call, jobs), await client.traffic());
  } finally {
    await client.close();
  }
}

export async function servicePending(call: Call): Promise<Result> {
  const { client } = await openService(call);
  try {
    const requests = await client.pending();
    return {
      text:
        requests.length === 0
          ? "Nothing waits for approval."
          : columns([
              ["REQUEST", "FROM", "CERTIFICATE", "FILE", "DIGEST", "HAVE", "RELEASE"],
              ...requests.map((r) => [
                r.request,
                r.user,
                r.certificate,
                r.file,
                r.digest,
                `${r.have}/${r.needed}`,
                r.release?.root ?? "-",
              ]),
            ]),
      json: { requests },
    };
  } finally {
    await client.close();
  }
}

export async function serviceApprove(call: Call): Promise<Result> {
  const { client } = await openService(call);
  try {
    const wanted = call.argument(0);
    const requests = await client.pending();
    const found = requests.filter(
      (r) => r.request === wanted || r.requestHash === wanted || r.release?.root === wanted,
    );
    const first = found[0];
    if (first === undefined)
      throw new SigningError("signing/not-found", `Nothing that waits is called ${wanted}.`, {
        subject: wanted,
      });
    const subject =
      first.release === undefined
        ? ({ kind: "request", sha256: first.requestHash } as const)
        : ({ kind: "release", root: first.release.root, size: first.release.size } as const);
    if (subject.kind === "release") checkWholeRelease(requests, subject);
    const reject = call.flag("reject");
    const { have } = await client.approve(
      subject,
      reject ? "reject" : "approve",
      (call.whole("hours", 1, 24) ?? 8) * HOUR,
    );
    return {
      text: `${reject ? "rejected" : "approved"}: ${found.length} file(s); ${have} of ${first.needed} have answered`,
      json: {
        subject,
        decision: reject ? "reject" : "approve",
        files: found.length,
        have,
        needed: first.needed,
      },
    };
  } finally {
    await client.close();
  }
}

/** An approver signs a root only if every file under it was shown: the list is rebuilt from what was shown. */
function checkWholeRelease(
  requests: readonly PendingRequest[],
  subject: { readonly root: string; readonly size: number },
): void {
  const places = new Map<number, ListedFile>();
  for (const r of requests) {
    if (r.release?.root !== subject.root || r.release.size !== subject.size) continue;
    const operation = r.operation.split("/")[0] as ListedFile["operation"];
    places.set(r.release.index, { certificate: r.certificate, operation, name: r.file, digest: r.digest });
  }
  const listed = Array.from({ length: subject.size }, (_, i) => places.get(i));
  if (listed.some((file) => file === undefined)) {
    throw new SigningError(
      "signing/refused",
      `Only ${places.size} of the release's ${subject.size} files have arrived; approve when all are there.`,
    );
  }
  if (listRoot(listed as ListedFile[]) !== subject.root) {
    throw new SigningError(
      "signing/refused",
      "The files that were shown are not those under the release's root: do not approve it.",
    );
  }
}

export async function serviceCertificates(call: Call): Promise<Result> {
  const { client } = await openService(call);
  try {
    const certificates = await client.certificates();
    return {
      text:
        certificates.length === 0
          ? "There is no certificate that you may use."
          : columns([
              ["NAME", "SCHEME", "OPERATIONS", "EXPIRES"],
              ...certificates.map((c) => [c.name, c.scheme, c.operations.join(","), c.expires ?? "-"]),
            ]),
      json: { user: client.user, certificates },
    };
  } finally {
    await client.close();
  }
}

function planOf(call: Call, offered: OfferedCertificate): Plan {
  const fixed: { readonly [scheme: string]: Algorithm } = {
    "ecdsa-sha2-nistp256": "sha256",
    "ecdsa-sha2-nistp384": "sha384",
    "ecdsa-sha2-nistp521": "sha512",
  };
  const options: { [name: string]: string } = {};
  for (const name of [
    "product",
    "release-version",
    "release-number",
    "channel",
    "description",
    "url",
    "purpose",
    "scheme",
    "receipts",
    "hash",
  ]) {
    const value = call.text(name);
    if (value !== undefined) options[name] = value;
  }
  const version = call.text("product-version");
  if (version !== undefined) options["release-version"] = version;
  return {
    cert: offered.name,
    as: call.text("as") ?? (call.flag("detached") ? "detached" : "auto"),
    algorithm: fixed[offered.scheme] ?? ((call.text("hash") ?? "sha256") as Algorithm),
    mode: call.flag("replace") ? "replace" : call.flag("append") ? "append" : "new",
    timestamp: call.flag("timestamp"),
    pageHashes: call.flag("page-hashes"),
    options,
  };
}

async function fileNames(call: Call): Promise<readonly string[]> {
  const names: string[] = [];
  for (const word of call.argumentsFrom(0)) {
    if (!word.startsWith("@")) names.push(word);
    else
      names.push(
        ...(await readFile(word.slice(1), "utf8"))
          .split("\n")
          .map((line) => line.trim())
          .filter((line) => line !== ""),
      );
  }
  return names.map((name) => resolve(name));
}

/** A few at a time; one that fails does not stop the others. */
async function all(call: Call, jobs: readonly Job[]): Promise<readonly FileResult[]> {
  const results: FileResult[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < jobs.length) {
      const at = next++;
      const result = await one(jobs[at]!);
      results[at] = result;
      const { json, world } = call.context;
      if (json) world.stdout.write(`${JSON.stringify(result)}\n`);
      else
        world.stdout.write(
          `${result.file}: ${result.state}${"message" in result ? `: ${String(result["message"])}` : ""}\n`,
        );
    }
  };
  const width = Math.min(jobs.length, call.whole("jobs", 1, 256) ?? 8);
  await Promise.all(Array.from({ length: width }, worker));
  return results;
}

function summary(results: readonly FileResult[], traffic: number): Result {
  const failed = results.find((result) => result.state === "failed");
  const pending = results.some((result) => result.state === "pending");
  return {
    json: {
      files: results.length,
      signed: results.filter((result) => result.state === "signed").length,
      traffic,
    },
    exit: failed === undefined ? (pending ? EXIT.pending : EXIT.ok) : Number(failed["exit"]),
  };
}

async function one(job: Job): Promise<FileResult> {
  const { path, call, plan } = job;
  const pending = `${path}.pending`;
  try {
    const signed = await signFile(job);
    const receipts = plan.options["receipts"];
    const receipt =
      receipts === undefined ? `${path}.receipt` : `${resolve(receipts)}/${basename(path)}.receipt`;
    await writeAtomic(call.context.disk, receipt, toUtf8(signed.receipt));
    await rm(pending, { force: true });
    return { file: path, state: "signed", request: signed.request, signer: signed.signer, receipt };
  } catch (error) {
    if (error instanceof Waiting) {
      const kept = { plan, resume: error.resume };
      await writeAtomic(call.context.disk, pending, toUtf8(`${JSON.stringify(kept, null, 2)}\n`));
      return {
        file: path,
        state: "pending",
        request: error.resume.request,
        signer: error.resume.signer,
        pending,
        message: error.message,
      };
    }
    const known = error instanceof UpkeepError;
    const code = known ? error.code : "unexpected";
    return {
      file: path,
      state: "failed",
      code,
      message: (error as Error).message,
      exit: known ? exitFor(code) : EXIT.failed,
    };
  }
}

type Kind = "pe" | "elf" | "detached" | "raw";

async function kindOf(source: ByteSource, as: string): Promise<Kind> {
  if (as === "raw" || as === "detached") return as;
  const head = new Uint8Array(Math.min(64, source.size));
  await source.read(0, head);
  if (head[0] === 0x4d && head[1] === 0x5a) return "pe";
  return looksLikeElf(head) ? "elf" : "detached";
}

async function signFile(job: Job): Promise<SignedFile> {
  const source = await openSource(job.path);
  try {
    const kind = await kindOf(source, job.plan.as);
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
    if (kind === "pe") return await signPeFile(job, source, ask);
    const operation = await operationOf(kind, source, job.plan, job.offered);
    const signed = await ask(operation);
    if (kind === "elf") await attachElf(job.path, source, operation, signed.reply);
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

async function signPeFile(
  job: Job,
  source: ByteSource,
  ask: (operation: Operation, indirectData: Uint8Array) => Promise<SignedFile>,
): Promise<SignedFile> {
  const { path, plan } = job;
  const { options } = plan;
  let signed: SignedFile | null = null;
  const pages = plan.pageHashes ? await pageHashTable(source, await readLayout(source), "sha256") : null;
  await replacing(path, async (temp, sink) => {
    const { digest } = await signPe({
      source,
      sink,
      mode: plan.mode,
      hash: plan.algorithm,
      ...(pages === null ? {} : { pageHashes: "sha256" as const }),
      makeSignature: async (what) => {
        // The registry knows other kinds; a PE file asks for Authenticode only.
        if (what.kind !== "authenticode")
          throw new TypeError(`a PE file asked for a signature of the kind ${what.kind}`);
        signed = await ask(
          {
            kind: "authenticode",
            format: "pe",
            algorithm: what.hash,
            digest: toHex(what.digest),
            timestamp: plan.timestamp,
            ...(pages === null ? {} : { pageHashes: { algorithm: "sha256", table: toBase64(pages) } }),
            ...(options["description"] === undefined ? {} : { description: options["description"] }),
            ...(options["url"] === undefined ? {} : { url: options["url"] }),
            ...(what.sequenceNumber === null ? {} : { sequence: what.sequenceNumber }),
          },
          what.indirectData,
        );
        return signed.reply;
      },
    });
    // What was written is hashed again: the signature is of the bytes on the disk, not of those in memory.
    const written = await openSource(temp);
    try {
      const scan = await scanImage(written, await readLayout(written), [plan.algorithm]);
      if (toHex(scan.digests.get(plan.algorithm)!) !== toHex(digest)) throw changed(path);
    } finally {
      await written.close();
    }
  });
  return signed!;
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
  if (kind === "pe") {
    const scan = await scanImage(source, await readLayout(source), [algorithm]);
    return {
      kind: "authenticode",
      format: "pe",
      algorithm,
      digest: toHex(scan.digests.get(algorithm)!),
      timestamp,
    };
  }
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

async function attachElf(
  path: string,
  source: ByteSource,
  operation: Operation,
  cms: Uint8Array,
): Promise<void> {
  if (operation.kind !== "elf") throw new Error("not an ELF operation");
  const { length } = operation.manifest;
  await replacing(path, async (temp, sink) => {
    await writeRewrite(source, [{ offset: 0, size: length }, writeContainer(cms)], sink);
    const written = await openSource(temp);
    try {
      const digests = await digestContent(written, length, [operation.algorithm]);
      if (toHex(digests.of(operation.algorithm)!) !== operation.digest) throw changed(path);
    } finally {
      await written.close();
    }
  });
}

/** Writes beside the file and moves it into place in one step; a failure leaves the file as it was. */
async function replacing(
  path: string,
  write: (temp: string, sink: Awaited<ReturnType<typeof openSink>>) => Promise<void>,
): Promise<void> {
  const temp = `${dirname(path)}/.${basename(path)}.signing-${process.pid}`;
  await rm(temp, { force: true });
  const sink = await openSink(temp, (await stat(path)).mode & 0o777);
  try {
    await write(temp, sink);
    await sink.sync();
    await sink.close();
    await rename(temp, path);
  } catch (error) {
    await sink.close().catch(() => {});
    await rm(temp, { force: true });
    throw error;
  }
}

function changed(path: string): SigningError {
  return new SigningError(
    "signing/bad-reply",
    `${path} was changed while it was signed; nothing was replaced.`,
    { path },
  );
}

/** The places of all files in one list. */
async function releaseOf(
  files: readonly string[],
  plan: Plan,
  offered: OfferedCertificate,
): Promise<readonly Membership[]> {
  const listed: ListedFile[] = [];
  for (const path of files) {
    const source = await openSource(path);
    try {
      const operation = await operationOf(await kindOf(source, plan.as), source, plan, offered);
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
