// What `repo bundle` does.

import { resolve } from "node:path";
import type { Disk } from "../../../core/disk.ts";
import { DAY, formatInstant } from "../../../core/instant.ts";
import { broughtSource, writeBundle, type BundleFile } from "../../../io/source/bundle.ts";
import { mirrorAt, openRepository } from "../../../repository/client/client.ts";
import { memoryStore } from "../../../repository/client/store.ts";
import { carriedTargets } from "../../../repository/publish/carried.ts";
import { roleFileName, targetFilePath } from "../../../repository/publish/disk-names.ts";
import type { Draft } from "../../../repository/publish/draft.ts";
import { inspectRepository } from "../../../repository/publish/inspect.ts";
import { LIFETIME_LIMITS } from "../../../repository/publish/lifetimes.ts";
import type { Publication } from "../../../repository/publish/publication.ts";
import { repositoryId, type Published } from "../../../repository/publish/published.ts";
import type { Call, Result } from "../../framework/command.ts";
import { operatorOf } from "./operator.ts";
import { describeInspection } from "./verify-listed.ts";
import { count, size } from "../../framework/style.ts";

export async function repoBundle(call: Call): Promise<Result> {
  const { context } = call;
  const { disk, clock, random } = context;
  const operator = operatorOf(call);
  const { folder, publisher } = operator;
  const to = resolve(call.argument(0));
  const days = call.whole("days", 1, LIFETIME_LIMITS.timestamp);
  const [products, channels] = [call.list("product"), call.list("channel")];
  const found = await inspectRepository(disk, folder, clock.now());
  if (found.findings.some((finding) => finding.level === "bad")) return describeInspection(call, found);
  const draft = await operator.look();
  const published = draft.published!;
  const wanted = await carriedTargets({ disk, folder }, draft, {
    products: products.length === 0 ? null : products,
    channels: channels.length === 0 ? null : channels,
  });
  // Its numbers are used up before anybody can hold it: what the repository says next is newer for every device.
  const own = days === undefined ? null : await publisher.signForCopy(clock.now() + days * DAY);
  const files: BundleFile[] = await metadataOf(disk, folder, published, own);
  for (const [name, file] of wanted) {
    const path = targetFilePath(name, file, published.root.signed.consistentSnapshot);
    files.push({ path, size: file.length, from: `${folder}/${path}` });
  }
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
  const { expiries } = await client.refresh();
  const ends = [...Object.entries(expiries), ...(await expiriesOf(draft, published))];
  const [role, expires] = ends.reduce((first, next) => (next[1] < first[1] ? next : first));
  return {
    text: [
      `${to}: ${count(files.length, "file")} (${size(bytes)}); a fresh client follows`,
      `to be used before ${formatInstant(expires)}, when its ${role} ends: upkeep agent update --from FILE`,
      ...(own === null
        ? []
        : [
            `an attacker who has this file can keep a device that has not heard of timestamp ${own.timestamp + 1} from news until then`,
          ]),
    ].join("\n"),
    json: {
      file: to,
      repository: repositoryId(published),
      files: files.length,
      bytes,
      targets: [...wanted.keys()].toSorted(),
      expires: formatInstant(expires),
      ends: role,
    },
  };
}

/** Every root, because a device may know an old one only; of all other roles the version that counts. */
async function metadataOf(
  disk: Disk,
  folder: string,
  { roots, snapshot }: Published,
  own: Publication | null,
): Promise<BundleFile[]> {
  const names = [
    ...roots.map(({ signed }) => roleFileName("root", signed.version)),
    ...[...snapshot.signed.meta].map(([role, { version }]) => roleFileName(role, version)),
    ...(own === null ? [roleFileName("snapshot", snapshot.signed.version), "timestamp.json"] : []),
  ];
  const files: BundleFile[] = [];
  for (const name of names) {
    const from = `${folder}/metadata/${name}`;
    files.push({ path: `metadata/${name}`, size: (await disk.stat(from)).size, from });
  }
  for (const { name, bytes } of own?.files ?? [])
    files.push({ path: `metadata/${name}`, size: bytes.length, from: bytes });
  return files;
}

/** Products may end before the roles that every client reads. */
async function expiriesOf(
  draft: Draft,
  published: Published,
): Promise<readonly (readonly [string, number])[]> {
  const out: (readonly [string, number])[] = [];
  for (const { name } of await draft.delegatedRoles()) {
    const delegator = await draft.publishedDelegator(name);
    const role = delegator === null ? null : await published.role(name, delegator);
    if (role !== null) out.push([name, role.signed.expires]);
  }
  return out;
}
