// What `repo sign`, `repo collect` and `repo cancel` do: one change, several signers, no common machine.

import { createInterface } from "node:readline/promises";
import { basename, resolve } from "node:path";
import { readOrNull, writeAtomic } from "../../../core/disk.ts";
import { toHex } from "../../../core/bytes.ts";
import type { KeyRing } from "../../../repository/publish/quorum.ts";
import {
  describeRequest,
  parseRequest,
  parseSignatures,
  REQUEST_LIMIT,
  requestStatus,
  SIGNATURES_LIMIT,
  signRequest,
  withSignatures,
  writeSignatures,
  type SigningRequest,
} from "../../../repository/publish/signing-request.ts";
import { PublisherError } from "../../../repository/publish/publisher-errors.ts";
import { loadRequest, requestPath, saveRequest, tryComplete, waitingLines } from "./ceremony.ts";
import type { Call, Result } from "../../framework/command.ts";
import { CliError, usage } from "../../framework/errors.ts";
import { EXIT } from "../../framework/exit-codes.ts";
import { keysOf } from "../key/keys.ts";
import { operatorOf } from "./operator.ts";

export async function repoSign(call: Call): Promise<Result> {
  const { context } = call;
  const given = call.argumentOr(0);
  const path = given === undefined ? requestPath(call) : resolve(given);
  const bytes = await readOrNull(context.disk, path, REQUEST_LIMIT);
  if (bytes === null) {
    if (given === undefined) return { text: "No change waits for signatures.", json: { signed: [] } };
    throw new CliError("cli/not-found", `There is no signing request at ${path}.`, { path });
  }
  const request = parseRequest(bytes);
  const keys = keysOf(call);
  const only = call.list("key");
  const ring: KeyRing = async (wanted) => {
    if (only.length === 0) return keys.signersFor(wanted);
    const chosen = await Promise.all(only.map((name) => keys.find(name)));
    return keys.signersFor(
      wanted.filter((key) => chosen.some((info) => toHex(info.publicKey.spki) === toHex(key.spki))),
    );
  };
  const shown = show(request);
  if (!call.flag("yes")) await confirm(call, shown);
  const signatures = await signRequest(request, ring);
  if (signatures.length === 0) {
    throw new PublisherError(
      "publisher/no-quorum",
      "None of the keys here is asked for by this request.",
      { folder: keys.folder },
      { hint: `It waits for:\n${waitingLines(request).join("\n")}` },
    );
  }
  const signed = signatures.map(({ role, keyid }) => `${role} with ${keyid.slice(0, 16)}`);
  if (given === undefined) {
    // At home: straight into the open request, and published when that was the last one missing.
    return finish(call, withSignatures(request, signatures), signed);
  }
  const infos = await keys.list();
  const name =
    infos.find((info) => info.publicKey.keyid === signatures[0]!.keyid)?.name ??
    signatures[0]!.keyid.slice(0, 8);
  const out = resolve(call.text("out") ?? `${basename(path, ".json")}.${name}.sig.json`);
  await writeAtomic(context.disk, out, writeSignatures(request, signatures));
  return {
    text: [
      ...(call.flag("yes") ? shown : []),
      ...signed.map((line) => `signed ${line}`),
      `hand back ${out}`,
    ].join("\n"),
    json: { signed, file: out },
  };
}

export async function repoCollect(call: Call): Promise<Result> {
  const open = await loadRequest(call.context.disk, requestPath(call));
  if (open === null)
    throw usage("No change waits for signatures here.", "upkeep repo status shows what is published.");
  let request = open;
  const taken: string[] = [];
  for (const file of call.argumentsFrom(0)) {
    const bytes = await call.context.disk.read(resolve(file), SIGNATURES_LIMIT);
    const signatures = parseSignatures(bytes, request);
    request = withSignatures(request, signatures);
    taken.push(...signatures.map(({ role, keyid }) => `${role} with ${keyid.slice(0, 16)}`));
  }
  return finish(call, request, taken);
}

export async function repoCancel(call: Call): Promise<Result> {
  const open = await loadRequest(call.context.disk, requestPath(call));
  if (open === null) return { text: "No change waits for signatures.", json: { cancelled: null } };
  await call.context.disk.removeFile(requestPath(call));
  return { text: `dropped: ${open.reason}`, json: { cancelled: open.reason } };
}

async function finish(call: Call, request: SigningRequest, taken: readonly string[]): Promise<Result> {
  await saveRequest(call, request);
  const lines = taken.map((line) => `took the signature of ${line}`);
  const concluded = await tryComplete(call, operatorOf(call), request);
  if (concluded !== null) {
    return {
      text: [...lines, concluded.text].join("\n"),
      json: { taken, ...concluded.json },
      exit: concluded.exit,
    };
  }
  return {
    text: [...lines, "still missing:", ...waitingLines(request)].join("\n"),
    json: { taken, published: null, waiting: requestStatus(request) },
    exit: EXIT.pending,
  };
}

/** What a signer reads before signing: computed from the bytes that will be signed. */
function show(request: SigningRequest): readonly string[] {
  const lines = [`reason given: ${request.reason}`];
  for (const { role, lines: changes } of describeRequest(request)) {
    const part = request.parts.find((candidate) => candidate.role === role)!;
    lines.push(`${role}:`, ...changes.map((line) => `  ${line}`));
    if (part.base !== null)
      lines.push(
        `  compared with version ${part.before!.signed.version}, SHA-256 ${part.base}: is that the one you know?`,
      );
  }
  return lines;
}

async function confirm(call: Call, shown: readonly string[]): Promise<void> {
  const { stdin, stderr } = call.context.terminal;
  if (stdin.isTTY !== true || stderr.isTTY !== true) {
    throw usage(
      "Signing wants a yes of a person who has read what changes.",
      "Read it on a terminal, or give --yes.",
    );
  }
  const ask = createInterface({ input: stdin, output: process.stderr });
  try {
    stderr.write(`${shown.join("\n")}\n`);
    const answer = await ask.question('Sign this? Type "yes": ');
    if (answer.trim() !== "yes") throw new CliError("cli/interrupted", "Nothing was signed.", {});
  } finally {
    ask.close();
  }
}
