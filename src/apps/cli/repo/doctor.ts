// What `repo doctor`, `repo rehearse`, `repo clean` and `repo export` do.

import { resolve } from "node:path";
import { toHex } from "../../../core/bytes.ts";
import {
  makeDirectories,
  parentOf,
  removeTree,
  statOrNull,
  writeAtomic,
  type Disk,
} from "../../../core/disk.ts";
import { DAY } from "../../../core/instant.ts";
import { UpkeepError } from "../../../core/errors.ts";
import { diskSource } from "../../../io/source/disk.ts";
import { mirrorAt, openRepository } from "../../../repository/client/client.ts";
import { filesBelow, inspectRepository, listedFiles } from "../../../repository/publish/inspect.ts";
import { noRepository, readPublished, repositoryId } from "../../../repository/publish/published.ts";
import { memoryStore } from "../../../repository/client/store.ts";
import type { Call, Result } from "../../framework/command.ts";
import { EXIT } from "../../framework/exit-codes.ts";
import { operatorOf } from "./operator.ts";
import { serverView } from "./server-view.ts";
import { describeInspection } from "./verify-listed.ts";
import { count, size } from "../../framework/style.ts";

export async function repoDoctor(call: Call): Promise<Result> {
  const { context } = call;
  const { folder } = operatorOf(call);
  // Where any metadata is, a missing timestamp is a loss to be told, and not an empty place.
  if ((await statOrNull(context.disk, `${folder}/metadata`)) === null) {
    throw noRepository(folder);
  }
  const found = await inspectRepository(context.disk, folder, context.clock.now());
  const server = found.repository === null ? null : await serverView(context);
  if (server === null || (server.follows && !server.clockBehind)) return describeInspection(call, found);
  const level = server.follows ? "warn" : "bad";
  const finding = { level, kind: "other", what: "server", message: server.sentence } as const;
  return describeInspection(call, { ...found, findings: [...found.findings, finding] });
}

/** Larger targets are not needed to see whether clients follow. */
const REHEARSED_TARGET = 1 << 20;

export async function repoRehearse(call: Call): Promise<Result> {
  const { context } = call;
  const { disk, data } = context;
  // Beside the original: keys are copied along, and must not lie where they are less protected.
  const copy = `${data}/rehearsal-${toHex(context.random.bytes(6))}`;
  const words = call.argumentsFrom(0);
  const lines: string[] = [];
  let exit: number = EXIT.ok;
  await makeDirectories(disk, copy, 0o700);
  try {
    for (const part of ["repository", "keys", "ceremony"]) {
      if ((await statOrNull(disk, `${data}/${part}`)) !== null)
        await copyTree(disk, `${data}/${part}`, `${copy}/${part}`, REHEARSED_TARGET);
    }
    if (words.length > 0) {
      const shown = { write: (text: string) => void lines.push(...text.trimEnd().split("\n")) };
      // What is tried on a copy is not written into the log of the fleet's own database.
      const env = { ...context.terminal.env, UPKEEP_STORE: "" };
      const terminal = { ...context.terminal, env, stdout: shown, stderr: shown };
      exit = await context.run(["--data", copy, "--quiet", "--no-color", ...words], terminal);
      lines.unshift(`on a copy: upkeep ${words.join(" ")} (exit ${exit})`);
    }
    const { clients, failed } = await simulateClients(call, `${copy}/repository`);
    lines.push(
      ...clients,
      failed === 0 ? "every client follows" : `${count(failed, "client")} cannot follow`,
    );
    return {
      text: lines.join("\n").replaceAll(copy, data),
      json: { command: words, exit, clients, failed },
      exit: failed === 0 ? exit : EXIT["verify-failed"],
    };
  } finally {
    await removeTree(disk, copy);
  }
}

/** Files younger than this may still be wanted by a client in the middle of a refresh. */
const YOUNG = DAY;

export async function repoClean(call: Call): Promise<Result> {
  const { context } = call;
  const { disk } = context;
  const operator = operatorOf(call);
  const keep = call.whole("keep", 1, 1_000_000) ?? 20;
  const removed: string[] = [];
  let bytes = 0;
  await operator.publisher.change(async (draft) => {
    // Under the publisher's lock, and without changing anything: what is listed cannot move meanwhile.
    const wanted = await listedFiles(draft, keep);
    for (const part of ["metadata", "targets"]) {
      for (const path of await filesBelow(disk, operator.folder, `${part}/`)) {
        const stat = await disk.stat(`${operator.folder}/${path}`);
        if (wanted(path) || stat.mtimeMs > context.clock.now() - YOUNG) continue;
        await disk.removeFile(`${operator.folder}/${path}`);
        removed.push(path);
        bytes += stat.size;
      }
    }
  });
  return {
    text:
      removed.length === 0
        ? "There is nothing to remove."
        : `removed ${count(removed.length, "file")} (${size(bytes)})`,
    json: { removed, bytes },
  };
}

/** A client that was built when each historical root was the newest. */
async function simulateClients(
  call: Call,
  folder: string,
): Promise<{ readonly clients: readonly string[]; readonly failed: number }> {
  const { disk, clock, random } = call.context;
  const clients: string[] = [];
  let failed = 0;
  for (const root of (await readPublished(disk, folder)).roots) {
    const client = openRepository({
      mirrors: [mirrorAt(diskSource(disk, folder))],
      store: memoryStore(),
      clock,
      random,
      trustedRoot: root.bytes,
    });
    try {
      const { root: reached } = await client.refresh();
      clients.push(`a client with root ${root.signed.version} reaches root ${reached}`);
    } catch (error) {
      if (!(error instanceof UpkeepError)) throw error;
      failed++;
      clients.push(`a client with root ${root.signed.version} is stuck: ${error.message}`);
    }
  }
  return { clients, failed };
}

export async function repoExport(call: Call): Promise<Result> {
  const { context } = call;
  const operator = operatorOf(call);
  const to = resolve(call.argument(0));
  const found = await inspectRepository(context.disk, operator.folder, context.clock.now());
  const wrong = found.findings.filter((finding) => finding.level === "bad");
  if (wrong.length > 0) return describeInspection(call, found);
  const bar = context.progress("copying", found.bytes);
  // Targets before metadata, the timestamp last: a client may read along.
  for (const part of ["targets", "metadata"])
    await copyTree(
      context.disk,
      `${operator.folder}/${part}`,
      `${to}/${part}`,
      Number.MAX_SAFE_INTEGER,
      (bytes) => bar.advance(bytes),
    );
  bar.done();
  const published = await readPublished(context.disk, to);
  return {
    text: [
      `exported to ${to}: ${count(found.targets, "target")} (${size(found.bytes)})`,
      `a client needs metadata/1.root.json, SHA-256 ${repositoryId(published)}`,
    ].join("\n"),
    json: { folder: to, repository: repositoryId(published), targets: found.targets, bytes: found.bytes },
  };
}

/** Files whose name and length are there already are not copied again; `timestamp.json` always is, and last. */
export async function copyTree(
  disk: Disk,
  from: string,
  to: string,
  limit: number,
  onBytes: (bytes: number) => void = () => {},
): Promise<void> {
  await makeDirectories(disk, to);
  const names = [...(await disk.list(from))].sort(
    (a, b) => Number(a === "timestamp.json") - Number(b === "timestamp.json"),
  );
  for (const name of names) {
    const stat = await disk.stat(`${from}/${name}`);
    if (stat.kind === "directory") await copyTree(disk, `${from}/${name}`, `${to}/${name}`, limit, onBytes);
    else if (stat.kind === "file" && stat.size <= limit) {
      const { mode } = stat;
      const there = await statOrNull(disk, `${to}/${name}`);
      if (name === "timestamp.json" || there?.size !== stat.size)
        await copyFile(disk, `${from}/${name}`, `${to}/${name}`, stat.size, mode);
      onBytes(stat.size);
    }
  }
}

async function copyFile(disk: Disk, from: string, to: string, length: number, mode: number): Promise<void> {
  if (length <= REHEARSED_TARGET) return writeAtomic(disk, to, await disk.read(from, length), mode);
  const source = await disk.open(from, "read");
  const target = await disk.open(`${to}.tmp`, "write");
  try {
    await target.truncate(0);
    for (let at = 0; at < length;) {
      const part = await source.read(at, REHEARSED_TARGET);
      if (part.length === 0) break;
      await target.write(at, part);
      at += part.length;
    }
    await target.sync();
  } finally {
    await source.close();
    await target.close();
  }
  await disk.rename(`${to}.tmp`, to);
  await disk.syncDirectory(parentOf(to));
}
