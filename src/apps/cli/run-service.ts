// What the verbs of `service` do.

import { basename, resolve } from "node:path";
import { readFile, rm } from "node:fs/promises";
import { toUtf8 } from "../../core/bytes.ts";
import { writeAtomic } from "../../core/disk.ts";
import { UpkeepError } from "../../core/errors.ts";
import { HOUR, SECOND } from "../../core/instant.ts";
import { isJsonObject, parseJson } from "../../core/json.ts";
import { SigningError } from "../../signing/errors.ts";
import type { OfferedCertificate, PendingRequest } from "../../signing/protocol.ts";
import { listRoot, type ListedFile } from "../../signing/request.ts";
import type { SigningClient } from "../../io/signing-client.ts";
import type { Call, Result } from "./command.ts";
import { usage } from "./errors.ts";
import { EXIT, exitFor } from "./exit-codes.ts";
import { openService } from "./service-client.ts";
import { columns } from "./style.ts";
import {
  releaseOf,
  signFile,
  Waiting,
  type Algorithm,
  type Job,
  type Plan,
  type Resume,
} from "./service-files.ts";

type FileResult = { readonly file: string; readonly state: string; readonly [more: string]: unknown };

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
      const resume = kept["resume"] as unknown as Resume;
      // A request waits at one signer; what that one offers is what the reply is checked against.
      const from = `${resume.signer}/${plan.cert}`;
      if (!offered.has(from)) offered.set(from, await client.certificate(plan.cert, resume.signer));
      jobs.push({
        client,
        offered: offered.get(from)!,
        plan,
        path: path.slice(0, -".pending".length),
        resume,
        until,
        call,
      });
    }
    return summary(await all(call, jobs), await client.traffic());
  } finally {
    await client.close();
  }
}

type Waits = PendingRequest & { readonly signer: string };
type Silent = { readonly signer: string; readonly code: string; readonly message: string };

/** What waits at all signers, and those that could not be asked. Errors: that of the first, if none could. */
async function waiting(
  client: SigningClient,
): Promise<{ readonly requests: readonly Waits[]; readonly silent: readonly Silent[] }> {
  const { answers, silent } = await client.pendingEverywhere();
  if (answers.length === 0) throw silent[0]!.error;
  return {
    requests: answers.flatMap(({ signer, answer }) => answer.map((each) => ({ ...each, signer }))),
    silent: silent.map(({ signer, error: { code, message } }) => ({ signer, code, message })),
  };
}

export async function servicePending(call: Call): Promise<Result> {
  const { client } = await openService(call);
  try {
    const { requests, silent } = await waiting(client);
    for (const { signer, message } of silent) call.context.note(`${signer} could not be asked: ${message}`);
    return {
      text:
        requests.length === 0
          ? "Nothing waits for approval."
          : columns([
              ["REQUEST", "FROM", "CERTIFICATE", "FILE", "DIGEST", "HAVE", "SIGNER", "RELEASE"],
              ...requests.map((r) => [
                r.request,
                r.user,
                r.certificate,
                r.file,
                r.digest,
                `${r.have}/${r.needed}`,
                r.signer,
                r.release?.root ?? "-",
              ]),
            ]),
      json: { requests, silent },
    };
  } finally {
    await client.close();
  }
}

export async function serviceApprove(call: Call): Promise<Result> {
  const { client } = await openService(call);
  try {
    const wanted = call.argument(0);
    const { requests, silent } = await waiting(client);
    const found = requests.filter(
      (r) => r.request === wanted || r.requestHash === wanted || r.release?.root === wanted,
    );
    const first = found[0];
    if (first === undefined) {
      const unasked = silent.map(({ signer }) => signer);
      throw new SigningError(
        unasked.length === 0 ? "signing/not-found" : "signing/unreachable",
        unasked.length === 0
          ? `Nothing that waits is called ${wanted}.`
          : `Nothing that waits is called ${wanted} at the signers that could be asked; ${unasked.join(", ")} could not.`,
        { subject: wanted, silent: unasked },
      );
    }
    const subject =
      first.release === undefined
        ? ({ kind: "request", sha256: first.requestHash } as const)
        : ({ kind: "release", root: first.release.root, size: first.release.size } as const);
    if (subject.kind === "release") checkWholeRelease(requests, subject);
    const reject = call.flag("reject");
    const life = (call.whole("hours", 1, 24) ?? 8) * HOUR;
    // The files of a release may wait at more than one signer; each counts the approvals that it was given itself.
    const signers = [...new Set(found.map(({ signer }) => signer))];
    let have = Number.POSITIVE_INFINITY;
    for (const signer of signers) {
      const answer = await client.approve(subject, reject ? "reject" : "approve", life, signer);
      have = Math.min(have, answer.have);
    }
    return {
      text: `${reject ? "rejected" : "approved"} at ${signers.join(" and ")}: ${found.length} file(s); ${have} of ${first.needed} have answered`,
      json: {
        subject,
        decision: reject ? "reject" : "approve",
        signers,
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
