// What `sign --service`, `service sign` and `service wait` do: one line a file, one failure stops nobody else.

import { basename, resolve } from "node:path";
import { rm } from "node:fs/promises";
import { toUtf8 } from "../../../core/bytes.ts";
import { writeAtomic } from "../../../core/disk.ts";
import { SECOND } from "../../../core/instant.ts";
import { refuseUnfit } from "../../../artifact/signing-certificate.ts";
import { formatName } from "../../../der/names.ts";
import { parseCertificatesPem } from "../../../der/x509.ts";
import type { OfferedCertificate } from "../../../signing/wire/protocol.ts";
import type { Membership } from "../../../signing/request/request.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { EXIT } from "../../framework/exit-codes.ts";
import { expandFiles, forEachFile, type Outcome } from "../files/many-files.ts";
import { openService } from "./client.ts";
import { waitCommand } from "./wait-command.ts";
import { isLeftAlone, PENDING_LIMIT, signFile, Waiting, type Job } from "./sign-file.ts";
import { nameOf } from "./operation.ts";
import { chooseOffered, refuseLocalWords } from "./options.ts";
import { formatPending, parsePending, planOf, type Plan } from "./plan.ts";
import { releaseOf } from "./release-list.ts";

/** `like`: a signature beside a file is overwritten by `service sign` only, and it ends with a summary. */
export async function serviceSign(call: Call, like: "sign" | "service"): Promise<Result> {
  if (like === "sign") refuseLocalWords(call);
  const files = expandFiles(call.argumentsFrom(0));
  const id = call.text("request-id");
  if (id !== undefined && files.length > 1) throw usage("--request-id is for one file.");
  if (id !== undefined && !/^[0-9a-f]{32}$/.test(id)) throw usage("--request-id is 32 hex digits.");
  if (call.text("output") !== undefined && files.length !== 1)
    throw usage("--output goes with one file only.");
  if (call.flag("dry-run")) return (await import("./dry-run.ts")).dryServiceSign(call, files);
  // Wrong words are told before anybody is asked; the key's kind is not known yet.
  planOf(call, { name: "unknown", scheme: "" }, true);
  const { client } = await openService(call);
  try {
    const offered = await chooseOffered(call, client);
    const plan = planOf(call, offered, like === "service");
    // The kernel asks its certificates for no purpose.
    const [leaf] = offered.chain === undefined ? [] : parseCertificatesPem(offered.chain);
    if (leaf !== undefined && !call.flag("kernel")) refuseUnfit(leaf);
    const release = call.flag("one-release") ? await placesOf(call, files, plan, offered) : null;
    let signed = 0;
    const result = await forEachFile(call, files, async (file) => {
      const place = release?.get(file);
      const outcome = await signOne(file, {
        client,
        offered,
        plan,
        path: resolve(file),
        call,
        until: call.flag("leave-pending") ? null : Number.POSITIVE_INFINITY,
        ...(place === undefined ? {} : { release: place }),
        ...(id === undefined ? {} : { id }),
      });
      if ((outcome.exit ?? EXIT.ok) === EXIT.ok) signed++;
      return outcome;
    });
    if (like === "service") summary(call, files.length, signed, await client.traffic());
    return result;
  } finally {
    await client.close();
  }
}

/** Files that are left alone have no place: an approver waits for every file of the list. */
async function placesOf(
  call: Call,
  files: readonly string[],
  plan: Plan,
  { scheme }: OfferedCertificate,
): Promise<ReadonlyMap<string, Membership>> {
  const listed: string[] = [];
  for (const file of files) if (!(await isLeftAlone(call, plan, resolve(file)))) listed.push(file);
  const places = await releaseOf(
    listed.map((file) => ({ path: resolve(file), plan })),
    scheme,
    call.context.random,
  );
  return new Map(listed.map((file, i) => [file, places[i]!]));
}

/** `service wait`, and `sign wait`, whose first word is not a file. Errors: `cli/usage`. */
export async function serviceWait(call: Call, files = call.argumentsFrom(0)): Promise<Result> {
  if (files.length === 0)
    throw usage("Which .pending files?", "A file that is called wait is signed as ./wait.");
  const { clock, disk } = call.context;
  const until = clock.monotonic() + (call.whole("timeout", 0, 30 * 86_400) ?? 86_400) * SECOND;
  const { client } = await openService(call);
  try {
    const known = new Map<string, Promise<OfferedCertificate>>();
    const names = expandFiles(files);
    let done = 0;
    const result = await forEachFile(call, names, async (file) => {
      const path = resolve(file.endsWith(".pending") ? file : `${file}.pending`);
      const { plan, resume } = parsePending(await disk.read(path, PENDING_LIMIT));
      // A request waits at one signer; what that one offers is what the reply is checked against.
      const from = `${resume.signer}/${plan.cert}`;
      const offered = known.get(from) ?? client.certificate(plan.cert, resume.signer);
      known.set(from, offered);
      const signed = path.slice(0, -".pending".length);
      const outcome = await signOne(file, {
        client,
        offered: await offered,
        plan,
        path: signed,
        resume,
        until,
        call,
      });
      if ((outcome.exit ?? EXIT.ok) === EXIT.ok) done++;
      return outcome;
    });
    summary(call, names.length, done, await client.traffic());
    return result;
  } finally {
    await client.close();
  }
}

function summary(call: Call, files: number, signed: number, traffic: number): void {
  const { json, terminal } = call.context;
  if (json) terminal.stdout.write(`${JSON.stringify({ files, signed, traffic })}\n`);
}

async function signOne(file: string, job: Job): Promise<Outcome> {
  const { path, call, plan } = job;
  const { style, disk } = call.context;
  const pending = `${path}.pending`;
  try {
    const done = await signFile(job);
    const format = nameOf(done.kind);
    if (done.state === "skipped") {
      return {
        text: `${style.faint("-")} ${file}: signed already, left alone`,
        json: { file, ok: true, status: "skipped", format },
      };
    }
    const { output, hash, digest, signed, warnings } = done;
    const folder = plan.options["receipts"];
    const beside = plan.output ?? path;
    const receipt =
      folder === undefined ? `${beside}.receipt` : `${resolve(folder)}/${basename(beside)}.receipt`;
    await writeAtomic(disk, receipt, toUtf8(signed.receipt));
    await rm(pending, { force: true });
    const subject = subjectOf(job.offered);
    const lines = [
      `${style.good("✓")} ${file}: signed as ${subject} by ${signed.signer}`,
      ...warnings.map((warning) => `  ${style.warn("!")} ${warning}`),
    ];
    if (call.context.verbose) lines.push(style.faint(`  ${hash} ${digest}`));
    return {
      text: lines.join("\n"),
      json: {
        file,
        ok: true,
        status: "signed",
        output,
        format,
        hash,
        digest,
        subject,
        warnings,
        request: signed.request,
        signer: signed.signer,
        receipt,
      },
    };
  } catch (error) {
    if (!(error instanceof Waiting)) throw error;
    await writeAtomic(disk, pending, formatPending({ plan, resume: error.resume, sha256: error.sha256 }));
    const { request, signer } = error.resume;
    return {
      text: `${style.warn("…")} ${file}: ${error.message}\n  ${waitCommand(call, pending)}`,
      json: { file, ok: false, status: "pending", request, signer, pending, message: error.message },
      exit: EXIT.pending,
    };
  }
}

function subjectOf(offered: OfferedCertificate): string {
  const [leaf] = offered.chain === undefined ? [] : parseCertificatesPem(offered.chain);
  return leaf === undefined ? offered.name : formatName(leaf.subject);
}
