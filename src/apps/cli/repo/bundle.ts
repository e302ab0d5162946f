// What `repo bundle` does.

import { resolve } from "node:path";
import type { Disk } from "../../../core/disk.ts";
import { formatInstant } from "../../../core/instant.ts";
import { broughtSource, writeBundle, type BundleFile } from "../../../io/source/bundle.ts";
import { mirrorAt, openRepository } from "../../../repository/client/client.ts";
import { inspectRepository } from "../../../repository/publish/inspect.ts";
import { readPublished, repositoryId } from "../../../repository/publish/published.ts";
import { memoryStore } from "../../../repository/client/store.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { operatorOf } from "./operator.ts";
import { describeInspection } from "./verify-listed.ts";
import { count, size } from "../../framework/style.ts";

export async function repoBundle(call: Call): Promise<Result> {
  const { context } = call;
  const { disk, clock, random } = context;
  const { folder } = operatorOf(call);
  const to = resolve(call.argument(0));
  const products = call.list("product");
  const found = await inspectRepository(disk, folder, clock.now());
  if (found.findings.some((finding) => finding.level === "bad")) return describeInspection(call, found);
  for (const product of products) {
    const names = await disk.list(`${folder}/targets/products`);
    if (!names.includes(product)) throw usage(`There is no product ${product} in this repository.`);
  }
  const files = [
    ...(await metadataOf(disk, folder)),
    ...(await targetsOf(disk, folder, "targets")).filter(
      ({ path }) =>
        products.length === 0 ||
        !path.startsWith("targets/products/") ||
        products.includes(path.split("/")[2]!),
    ),
  ];
  const bytes = files.reduce((total, file) => total + file.size, 0);
  const bar = context.progress("bundling", bytes);
  await writeBundle(disk, to, files, (part) => bar.advance(part));
  bar.done();
  // Nothing is called done before a client that has never seen the repository has followed it.
  const client = openRepository({
    mirrors: [mirrorAt(await broughtSource(disk, to))],
    store: memoryStore(),
    clock,
    random,
    trustedRoot: await disk.read(`${folder}/metadata/1.root.json`, 1 << 20),
  });
  const { expires } = await client.refresh();
  const repository = repositoryId(await readPublished(disk, folder));
  return {
    text: [
      `${to}: ${count(files.length, "file")} (${size(bytes)}); a fresh client follows`,
      `to be used before ${formatInstant(expires)}: upkeep agent update --from FILE`,
    ].join("\n"),
    json: { file: to, repository, files: files.length, bytes, expires: formatInstant(expires) },
  };
}

/** Every root, because a device may know an old one only; of all other roles the newest. */
async function metadataOf(disk: Disk, folder: string): Promise<readonly BundleFile[]> {
  const newest = new Map<string, number>();
  const wanted: string[] = [];
  for (const name of await disk.list(`${folder}/metadata`)) {
    const [, version, role] = /^(\d+)\.(.+)\.json$/.exec(name) ?? [];
    if (version === undefined || role === undefined) continue;
    if (role === "root") wanted.push(name);
    else newest.set(role, Math.max(newest.get(role) ?? 0, Number(version)));
  }
  for (const [role, version] of newest) wanted.push(`${version}.${role}.json`);
  wanted.push("timestamp.json");
  const files: BundleFile[] = [];
  for (const name of wanted) {
    const from = `${folder}/metadata/${name}`;
    files.push({ path: `metadata/${name}`, size: (await disk.stat(from)).size, from });
  }
  return files;
}

async function targetsOf(disk: Disk, folder: string, path: string): Promise<readonly BundleFile[]> {
  const files: BundleFile[] = [];
  for (const name of await disk.list(`${folder}/${path}`)) {
    const inner = `${path}/${name}`;
    const stat = await disk.stat(`${folder}/${inner}`);
    if (stat.kind === "directory") files.push(...(await targetsOf(disk, folder, inner)));
    else if (stat.kind === "file") files.push({ path: inner, size: stat.size, from: `${folder}/${inner}` });
  }
  return files;
}
