// What the verbs of `audit` do.

import { resolve } from "node:path";
import { fromBase64, fromUtf8, toBase64, toHex, toUtf8 } from "../../../core/bytes.ts";
import { exists, type FileStore } from "../../../core/disk.ts";
import { parseSealedKey } from "../../../signing/custody/custody.ts";
import { openCheckpoint, type Checkpoint } from "../../../signing/audit/checkpoint.ts";
import { leafOf, parseEntry, type AuditEntry, type EntryOf } from "../../../signing/audit/entry.ts";
import { readHead, readSegment, segmentsOf, splitLines } from "../../../signing/audit/files.ts";
import { noteKeyFromSpki, parseNoteKey, type NoteKey } from "../../../signing/audit/note.ts";
import {
  formatReceipt,
  MAX_RECEIPT,
  receiptOfSignature,
  verifyReceipt,
} from "../../../signing/audit/receipt.ts";
import { TileTree } from "../../../signing/audit/tiles.ts";
import { newestNote } from "../../../signing/audit/newest-note.ts";
import { verifyLog } from "../../../signing/audit/verify.ts";
import { SigningError } from "../../../signing/errors.ts";
import { readHome } from "../../signer/log-home.ts";
import { loadSettings, LOG_KEY, logOrigin, signerFolder } from "../../signer/settings.ts";
import type { Call, Result } from "../../framework/command.ts";
import { CliError, usage } from "../../framework/errors.ts";
import { digestsOfFile } from "../files/file-digests.ts";
import { EXIT } from "../../framework/exit-codes.ts";
import { listedIn, type ListedIn } from "./listed-in-catalogs.ts";
import { readDescription } from "./inputs.ts";

type Where = { readonly files: FileStore; readonly folder: string; readonly key: NoteKey };

/** The log of the signer in the data folder, wherever it keeps it, or the folder that `--log` names. */
async function where(call: Call): Promise<Where> {
  const { disk, data } = call.context;
  const signer = signerFolder(data);
  const key = await logKey(call);
  if (call.text("log") !== undefined) return { files: disk, folder: resolve(call.needed("log")), key };
  // Without a signer there may still be the folder of its log.
  if (!(await exists(disk, signer.config))) return { files: disk, folder: signer.audit, key };
  const home = await readHome(disk, signer, await loadSettings(disk, signer));
  call.context.atEnd(home.close);
  return { files: home.files, folder: home.folder, key };
}

async function logKey(call: Call): Promise<NoteKey> {
  const { disk, data } = call.context;
  const given = call.text("log-key");
  if (given !== undefined) return parseNoteKey(given);
  const signer = signerFolder(data);
  const { config } = await loadSettings(disk, signer);
  const { spki } = parseSealedKey(await disk.read(signer.key(LOG_KEY), 64 * 1024));
  return noteKeyFromSpki(logOrigin(config.service.name), fromBase64(spki ?? ""));
}

export async function auditVerify(call: Call): Promise<Result> {
  const { disk } = call.context;
  const { files, folder, key } = await where(call);
  const known: Checkpoint[] = [];
  for (const file of call.list("checkpoint"))
    known.push(openCheckpoint(await disk.read(resolve(file), 64 * 1024), key));
  for (const file of call.list("receipt"))
    known.push(verifyReceipt(await disk.read(resolve(file), MAX_RECEIPT), key).checkpoint);
  const verdict = await verifyLog(files, folder, key, known);
  const good = verdict.faults.length === 0;
  return {
    text: good
      ? `${verdict.size} entries, root ${verdict.root}: the log is whole${verdict.open.length === 0 ? "" : `; ${verdict.open.length} signatures were begun and not ended: ${verdict.open.join(", ")}`}`
      : [
          ...verdict.faults.map((fault) => `${fault.what}: ${fault.sentence}`),
          "The log is not what was written: either it was changed by somebody who could, or disk or database lost data.",
        ].join("\n"),
    json: { ok: good, ...verdict },
    exit: good ? EXIT.ok : EXIT["verify-failed"],
  };
}

export async function auditFind(call: Call): Promise<Result> {
  const log = await where(call);
  const what = call.argument(0);
  const wanted = /^[0-9a-f]{40,128}$/.test(what) ? [what] : await digestsOfFile(resolve(what));
  const found: { readonly entry: AuditEntry; readonly listed: ListedIn | null }[] = [];
  /** Requests for catalogs that list it: what became of them is an answer as well. */
  const through = new Set<string>();
  await scan(log, async (bytes) => {
    const text = fromUtf8(bytes);
    const named = wanted.some((digest) => text.includes(digest));
    if (!named && !text.includes('"authenticode/cat"')) return;
    const entry = parseEntry(bytes);
    const listed = await listedIn(log.files, log.folder, entry, wanted);
    const lists = listed !== null && listed.members.length > 0;
    if (lists && "request" in entry) through.add(entry.request);
    if (named || lists || ("request" in entry && through.has(entry.request))) found.push({ entry, listed });
  });
  if (found.length === 0)
    throw new CliError("cli/not-found", `The log says nothing about ${what}.`, { digests: wanted });
  return {
    text: found
      .map(({ entry, listed }) => `${sentence(entry)}${listed === null ? "" : listedSentence(listed)}`)
      .join("\n"),
    json: {
      digests: wanted,
      entries: found.map(({ entry }) => entry) as never,
      catalogs: found.flatMap(({ entry, listed }) =>
        listed === null
          ? []
          : [
              {
                entry: entry.n,
                files: listed.files,
                listed: listed.members.map(({ name, kind, algorithm, digest }) => ({
                  name,
                  kind,
                  digest: `${algorithm}:${toHex(digest)}`,
                })),
              },
            ],
      ),
    },
  };
}

export async function auditList(call: Call): Promise<Result> {
  const log = await where(call);
  const [kind, user, last] = [call.text("kind"), call.text("user"), call.whole("last", 1, 1_000_000) ?? 50];
  const entries: AuditEntry[] = [];
  await scan(log, (bytes) => {
    const entry = parseEntry(bytes);
    if (kind !== undefined && entry.kind !== kind) return;
    if (user !== undefined && !("user" in entry && entry.user === user)) return;
    entries.push(entry);
    if (entries.length > last) entries.shift();
  });
  return { text: entries.map(sentence).join("\n"), json: { entries: entries as never } };
}

export async function auditProve(call: Call): Promise<Result> {
  const { disk } = call.context;
  const log = await where(call);
  const { files, folder, key } = log;
  const head = await readHead(files, folder, key);
  if (head === null) throw new SigningError("signing/not-found", "The log has no checkpoint yet.");
  const number = call.argumentOr(0);
  const since = call.text("since");
  const tiles = new Map<string, Uint8Array>();
  const tree = new TileTree(async (level, index) => tiles.get(`${level}/${index}`)!);
  let entry: Uint8Array | null = null;
  await scan(log, (bytes, n) => {
    if (n >= head.size) return;
    if (number !== undefined && n === Number(number)) entry = bytes.slice();
    tree.push(leafOf(bytes));
    for (const tile of tree.take()) tiles.set(`${tile.level}/${tile.index}`, tile.hashes);
  });
  if (toHex(tree.root()) !== toHex(head.root)) {
    throw new SigningError(
      "signing/log-damaged",
      'The log does not lead to its checkpoint. Run "upkeep audit verify".',
    );
  }
  const checkpoint = (await newestNote(files, folder, key))?.note ?? "";
  if (since !== undefined) {
    const old = openCheckpoint(await disk.read(resolve(since), 64 * 1024), key);
    const proof = (await tree.consistency(old.size, head.size)).map(toBase64);
    return {
      text: [`old ${old.size}`, `new ${head.size}`, ...proof, "", checkpoint.trimEnd()].join("\n"),
      json: { old: old.size, new: head.size, proof, checkpoint },
    };
  }
  if (entry === null)
    throw usage("Name the number of an entry that the log's checkpoint covers, or --since.");
  const receipt = formatReceipt({
    entry,
    index: Number(number),
    proof: await tree.inclusion(Number(number), head.size),
    checkpoint,
  });
  verifyReceipt(toUtf8(receipt), key);
  return { text: receipt.trimEnd(), json: { receipt } };
}

export function auditReceipt(call: Call): Promise<Result> {
  return checkReceipt(call, call.argument(0), call.argumentOr(1));
}

/** `verify --receipt`: one file and its receipt. */
export function verifyWithReceipt(call: Call): Promise<Result> {
  const [file, ...more] = call.argumentsFrom(0);
  if (more.length > 0) throw usage("--receipt is for one file.");
  return checkReceipt(call, call.needed("receipt"), file);
}

async function checkReceipt(call: Call, receipt: string, file: string | undefined): Promise<Result> {
  const { context } = call;
  const bytes = await context.disk.read(resolve(receipt), MAX_RECEIPT);
  const digests = file === undefined ? null : await digestsOfFile(resolve(file));
  try {
    const verified = verifyReceipt(bytes, await receiptKey(call, bytes));
    const entry = verified.entry as EntryOf<"result">;
    if (digests !== null) {
      const hex = entry.kind === "result" ? entry.digest.slice(entry.digest.indexOf(":") + 1) : "";
      receiptOfSignature(verified, { digest: digests.includes(hex) ? entry.digest : "none" });
    }
    return {
      text: `${sentence(entry)}\nlogged as entry ${verified.index} of ${verified.checkpoint.size} in ${verified.checkpoint.origin}${digests === null ? "" : "; it is for this file"}`,
      json: {
        ok: true,
        entry: entry as never,
        index: verified.index,
        size: verified.checkpoint.size,
        origin: verified.checkpoint.origin,
      },
    };
  } catch (cause) {
    if (!(cause instanceof SigningError)) throw cause;
    throw new CliError("cli/verify-failed", cause.message, { code: cause.code }, { cause });
  }
}

async function receiptKey(call: Call, receipt: Uint8Array): Promise<NoteKey> {
  const { context } = call;
  if (call.text("log-key") !== undefined) return logKey(call);
  const service = call.text("service") ?? context.terminal.env["UPKEEP_SERVICE"];
  if (service === undefined) return logKey(call);
  const { signers } = await readDescription(context.disk, resolve(service));
  const text = fromUtf8(receipt);
  const keys = signers.map((signer) => parseNoteKey(signer.log));
  // The name in the receipt only chooses among keys that are trusted anyway.
  return keys.find((key) => text.includes(`\n\u2014 ${key.name} `)) ?? keys[0]!;
}

function listedSentence({ files, members }: ListedIn): string {
  const names = members.map(({ name }) => name ?? "a file without a name").join(", ");
  return `  lists ${files} ${files === 1 ? "file" : "files"}${names === "" ? "" : `, among them ${names}`}`;
}

async function scan(
  { files, folder }: Where,
  seen: (bytes: Uint8Array, n: number) => void | Promise<void>,
): Promise<void> {
  let n = 0;
  for (const first of await segmentsOf(files, folder)) {
    for (const bytes of splitLines(await readSegment(files, folder, first)).lines) await seen(bytes, n++);
  }
}

/** One entry as one line for people. */
export function sentence(entry: AuditEntry): string {
  const head = `${entry.n}  ${entry.time}  ${entry.kind}`;
  switch (entry.kind) {
    case "session":
      return `${head}  ${entry.outcome}  ${entry.user || "-"}  ${entry.method}  from ${entry.address}${entry.reason === "" ? "" : `  (${entry.reason})`}`;
    case "denied":
      return `${head}  ${entry.user}  ${entry.certificate}  ${entry.file}  ${entry.digest}  (${entry.reasons.join("; ")})`;
    case "pending":
      return `${head}  ${entry.user}  ${entry.certificate}  ${entry.file}  ${entry.digest}  needs ${entry.needed}`;
    case "intent":
      return `${head}  ${entry.user}  ${entry.certificate}  ${entry.operation}  ${entry.file}  ${entry.digest}  from ${entry.address}${entry.approvals.length === 0 ? "" : `  approved by ${entry.approvals.map((a) => a.split(":")[0]!).join(", ")}`}`;
    case "result":
      return `${head}  ${entry.user}  ${entry.certificate}  ${entry.operation}  ${entry.file}  ${entry.digest}  signature ${entry.signatureSha256}`;
    case "approval":
      return `${head}  ${entry.user}  ${entry.decision}  ${entry.subject}`;
    case "failed":
      return `${head}  intent ${entry.intent}  ${entry.code}  ${entry.reason}`;
    case "abandoned":
      return `${head}  intent ${entry.intent}`;
    case "start":
      return `${head}  ${entry.signer}  configuration ${entry.config}`;
    case "config":
      return `${head}  configuration ${entry.config}`;
    case "session-end":
      return `${head}  ${entry.session}  (${entry.reason})`;
    case "admin":
      return `${head}  ${entry.action}  ${entry.admin || "-"}${entry.by === "" || entry.by === entry.admin ? "" : `  by ${entry.by}`}${entry.config === undefined ? "" : `  configuration ${entry.config}`}${entry.reason === "" ? "" : `  (${entry.reason})`}`;
    case "restored":
      return `${head}  from the backup of ${entry.made} with ${entry.size} entries, root ${entry.root}`;
    case "stop":
      return head;
  }
}
