// What the verbs of `service` do.

import { basename, resolve } from "node:path";
import { readFile, rm } from "node:fs/promises";
import { toUtf8 } from "../../core/bytes.ts";
import { writeAtomic } from "../../core/disk.ts";
import { UpkeepError } from "../../core/errors.ts";
import { SECOND } from "../../core/instant.ts";
import { isJsonObject, parseJson } from "../../core/json.ts";
import type { OfferedCertificate } from "../../signing/protocol.ts";
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

export async function serviceCertificates(call: Call): Promise<Result> {
  const { client } = await openService(call);
  try {
    const { answers, silent } = await client.certificatesEverywhere();
    if (answers.length === 0) throw silent[0]!.error;
    for (const { signer, error } of silent)
      call.context.note(`${signer} could not be asked: ${error.message}`);
    // The same name with the same key is one certificate, whichever signer is asked for it.
    const found = new Map<string, OfferedCertificate & { readonly signers: string[] }>();
    for (const { signer, answer } of answers) {
      for (const each of answer) {
        const known = found.get(`${each.name} ${each.spki}`);
        if (known === undefined) found.set(`${each.name} ${each.spki}`, { ...each, signers: [signer] });
        else known.signers.push(signer);
      }
    }
    const certificates = [...found.values()];
    return {
      text:
        certificates.length === 0
          ? "There is no certificate that you may use."
          : columns([
              ["NAME", "SCHEME", "OPERATIONS", "EXPIRES", "SIGNERS"],
              ...certificates.map((c) => [
                c.name,
                c.scheme,
                c.operations.join(","),
                c.expires ?? "-",
                c.signers.join(","),
              ]),
            ]),
      json: {
        user: client.user,
        certificates,
        silent: silent.map(({ signer, error: { code, message } }) => ({ signer, code, message })),
      },
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
