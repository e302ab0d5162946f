// One file at the signing service: asked for, waited for, and the answer put where it belongs.

import { basename } from "node:path";
import { toHex } from "../../../core/bytes.ts";
import { readOrNull, writeAtomic } from "../../../core/disk.ts";
import { UpkeepError } from "../../../core/errors.ts";
import { SECOND } from "../../../core/instant.ts";
import { digestContent } from "../../../artifact/content-digest.ts";
import { DETACHED_LIMIT, DETACHED_SUFFIX, readDetached } from "../../../artifact/detached/detached.ts";
import { ArtifactError } from "../../../artifact/errors.ts";
import type { Format } from "../../../artifact/format.ts";
import { joinSigners } from "../../../artifact/join-signers.ts";
import type { ByteSource } from "../../../artifact/source.ts";
import { openSource, replaceFile, withFileSource } from "../../../io/source/file.ts";
import type { SignedFile, SigningClient, SignWish } from "../../../io/signing/client.ts";
import { SigningError, type SigningErrorCode } from "../../../signing/errors.ts";
import type { OfferedCertificate } from "../../../signing/wire/protocol.ts";
import type { Membership } from "../../../signing/request/request.ts";
import type { Call } from "../../framework/command.ts";
import { hashFor, kindOf, wantedFor, wantedOf, type Kind, type Wanted } from "./operation.ts";
import { formatJob, isSamePending, parsePending, type Pending, type Plan } from "./plan.ts";
import { toBeSigned } from "../files/to-be-signed.ts";

const POLL = 2 * SECOND;
export const PENDING_LIMIT = 64 * 1024;

export type Job = {
  readonly client: SigningClient;
  readonly offered: OfferedCertificate;
  readonly plan: Plan;
  readonly path: string;
  readonly release?: Membership;
  readonly resume?: Pending["resume"];
  readonly id?: string;
  /** Null: do not wait for approvals. */
  readonly until: number | null;
  readonly call: Call;
};

/** What became of a file that was signed, or left alone. */
export type Done =
  | { readonly state: "skipped"; readonly kind: Kind }
  | {
      readonly state: "signed";
      readonly kind: Kind;
      readonly output: string;
      readonly digest: string;
      readonly hash: string;
      readonly signed: SignedFile;
      readonly warnings: readonly string[];
    };

/** Thrown through the format's own code when a request has to wait. */
export class Waiting extends SigningError {
  readonly resume: Pending["resume"];
  /** Of the file that the request is about. */
  readonly sha256: string;

  constructor(resume: Pending["resume"], sha256: string, needed: number, have: number) {
    super("signing/pending", `It waits for ${needed - have} of ${needed} approvals.`, {
      request: resume.request,
      needed,
      have,
    });
    this.resume = resume;
    this.sha256 = sha256;
  }
}

/** Errors: those of the format, of the service and of the disk; `Waiting`. */
export async function signFile(job: Job): Promise<Done> {
  const source = await openSource(job.path);
  try {
    const kind = await kindOf(source, job.path, job.plan.as);
    if (job.plan.skipSigned && (await isSigned(job, kind, source))) return { state: "skipped", kind };
    const whole = await digestContent(source, source.size, ["sha256"]);
    const file = { name: basename(job.path), length: source.size, sha256: toHex(whole.of("sha256")!) };
    const ask = (wanted: Wanted): Promise<SignedFile> =>
      obtain(job, {
        certificate: job.plan.cert,
        ...wanted,
        file,
        ...(job.release === undefined ? {} : { release: job.release }),
        ...(job.id === undefined ? {} : { id: job.id }),
      });
    if (typeof kind !== "object") return await beside(job, kind, source, ask);
    // Opened again there, and replaced: Windows replaces no file that is open.
    await source.close();
    return await inside(job, kind, ask);
  } finally {
    await source.close();
  }
}

function besideName({ plan, path }: Pick<Job, "plan" | "path">): string {
  return plan.output ?? `${path}${DETACHED_SUFFIX}`;
}

async function isSigned(
  { plan, path, call }: Pick<Job, "plan" | "path" | "call">,
  kind: Kind,
  source: ByteSource,
): Promise<boolean> {
  if (typeof kind === "object") return kind.isSigned(source);
  return (await readOrNull(call.context.disk, besideName({ plan, path }), DETACHED_LIMIT)) !== null;
}

/** Whether the plan leaves this file as it is. Errors: those of reading the file. */
export async function isLeftAlone(call: Call, plan: Plan, path: string): Promise<boolean> {
  if (!plan.skipSigned) return false;
  return withFileSource(path, async (source) =>
    isSigned({ plan, path, call }, await kindOf(source, path, plan.as), source),
  );
}

/** Asks, and waits for approvals as long as the job allows. */
async function obtain(job: Job, wish: SignWish): Promise<SignedFile> {
  const { client, offered, until, call } = job;
  const { clock, signal } = call.context;
  let outcome = await firstOutcome(job, wish);
  while (outcome.state === "pending") {
    if (until === null || clock.monotonic() + POLL > until) {
      const { request, signer, needed, have } = outcome;
      throw new Waiting({ request, signer }, wish.file.sha256, needed, have);
    }
    await clock.sleep(POLL, signal);
    outcome = await client.status(outcome.request, outcome.signer, wish, offered);
  }
  return outcome;
}

/** What became of a request that is known to be over; it may be asked for again under another id. */
const OVER: ReadonlySet<string> = new Set<SigningErrorCode>([
  "signing/denied",
  "signing/expired",
  "signing/not-found",
  "signing/key-failed",
]);

async function firstOutcome(job: Job, wish: SignWish): ReturnType<SigningClient["sign"]> {
  const { client, offered, call, path, plan } = job;
  if (job.resume !== undefined) return client.status(job.resume.request, job.resume.signer, wish, offered);
  // Called again while the first call's request waits: that one goes on, so that nobody is asked twice.
  const left = job.id === undefined && job.release === undefined ? await leftBehind(call, path) : null;
  const only = call.text("signer");
  const here = left !== null && (only === undefined || only === left.resume.signer);
  if (here && isSamePending(left, plan, wish.file.sha256)) {
    try {
      return await client.status(left.resume.request, left.resume.signer, wish, offered);
    } catch (error) {
      if (!(error instanceof SigningError) || !OVER.has(error.code)) throw error;
    }
  }
  return client.sign(wish, offered);
}

/** The .pending file beside a file; one that cannot be read means nothing, because a new request takes its place. */
async function leftBehind(call: Call, path: string): Promise<Pending | null> {
  const bytes = await readOrNull(call.context.disk, `${path}.pending`, PENDING_LIMIT);
  if (bytes === null) return null;
  try {
    return parsePending(bytes);
  } catch (error) {
    if (error instanceof UpkeepError) return null;
    throw error;
  }
}

async function inside(
  { path, plan, offered }: Job,
  format: Format,
  ask: (wanted: Wanted) => Promise<SignedFile>,
): Promise<Done> {
  const output = plan.output ?? path;
  const hash = hashFor(format, plan, offered.scheme);
  const job = formatJob(plan, hash);
  let signed: SignedFile | null = null;
  const outcome = await replaceFile(path, output, async (source, sink, written) => {
    const done = await format.sign({
      ...job,
      source,
      sink,
      makeSignature: async (what) => {
        signed = await ask(wantedOf(what, plan));
        return what.kind === "content" && what.beside !== null
          ? joinSigners(what.beside, signed.reply)
          : signed.reply;
      },
    });
    // What was written is hashed again: the signature is of the bytes on the disk, not of those in memory.
    const again = await toBeSigned(format, await written(), { hash, options: job.options! });
    const digest =
      again.kind === "authenticode" ? again.digest : again.kind === "content" ? again.digests.of(hash) : null;
    if (digest === null || toHex(digest) !== toHex(done.digest)) throw changed(path);
    return done;
  });
  const warnings = outcome.warnings ?? [];
  return {
    state: "signed",
    kind: format,
    output,
    hash,
    digest: toHex(outcome.digest),
    signed: signed!,
    warnings,
  };
}

async function beside(
  job: Job,
  kind: "detached" | "raw",
  source: ByteSource,
  ask: (wanted: Wanted) => Promise<SignedFile>,
): Promise<Done> {
  const { plan, offered, call } = job;
  const { disk } = call.context;
  const output = besideName(job);
  const present = await readOrNull(disk, output, DETACHED_LIMIT);
  if (present !== null && plan.mode === "new" && !plan.overwrite) {
    throw new ArtifactError(
      "artifact/already-signed",
      `${output} is there already.`,
      { output },
      { hint: "--replace takes its place, --append adds a signer to it." },
    );
  }
  const wanted = await wantedFor(kind, source, plan, offered.scheme);
  const signed = await ask(wanted);
  const { operation } = wanted;
  const joined =
    present !== null && plan.mode === "append" && kind === "detached"
      ? joinSigners(readDetached(present), signed.reply)
      : signed.reply;
  await writeAtomic(disk, output, joined);
  const hash = operation.kind === "raw" ? operation.scheme : operation.algorithm;
  const digest = operation.kind === "raw" ? "" : operation.digest;
  return { state: "signed", kind, output, hash, digest, signed, warnings: [] };
}

function changed(path: string): SigningError {
  return new SigningError(
    "signing/bad-reply",
    `${path} was changed while it was signed; nothing was replaced.`,
    { path },
  );
}
