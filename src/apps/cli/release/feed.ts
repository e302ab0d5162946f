// What `release feed` does: a channel's release in the form that other people's update clients read.

import { mkdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { toBase64, toUtf8 } from "../../../core/bytes.ts";
import { writeAtomic } from "../../../core/disk.ts";
import { sha256Hex } from "../../../core/digest.ts";
import { homebrewFeed, wingetFeed, type Described } from "../../../feed/catalogs.ts";
import { electronFeed } from "../../../feed/electron.ts";
import type { FeedFile, FeedItem, FeedRelease } from "../../../feed/feed.ts";
import { sparkleFeed, sparkleItems, type SparkleSigned } from "../../../feed/sparkle.ts";
import type { Artifact } from "../../../release/manifest.ts";
import { targetFilePath } from "../../../repository/publish/disk-names.ts";
import type { Draft } from "../../../repository/publish/draft.ts";
import { readChannel, readRelease, trustedKeys } from "../../../repository/publish/release-reader.ts";
import type { Call, Result } from "../../framework/command.ts";
import { CliError, usage } from "../../framework/errors.ts";
import { operatorOf, type Operator } from "../repo/operator.ts";

/** A raw Ed25519 key is the last 32 bytes of its SubjectPublicKeyInfo (RFC 8410). */
const ED25519_LENGTH = 32;

export async function releaseFeed(call: Call): Promise<Result> {
  const [product, channel, format] = [
    call.argument(0),
    call.text("channel") ?? "stable",
    call.needed("format"),
  ];
  const base = baseOf(call);
  const folder = resolve(call.needed("out"));
  const operator = operatorOf(call);
  const draft = await operator.look();
  const trusted = await trustedKeys(operator.releases, draft);
  const pointer = await readChannel(operator.releases, draft, trusted, product, channel);
  if (pointer === null) {
    throw new CliError(
      "cli/not-found",
      `The channel ${product}/${channel} points to no release.`,
      { product, channel },
      { hint: "`upkeep release promote` points it to one." },
    );
  }
  const { manifest } = await readRelease(operator.releases, draft, trusted, product, pointer.version);
  const items: FeedItem[] = [];
  for (const artifact of manifest.artifacts)
    items.push({ artifact, url: addressOf(base, await placeOf(draft, artifact)) });
  const release: FeedRelease = { manifest, channel, items };
  const made = await make({ call, operator, draft, base }, release, format);
  await mkdir(folder, { recursive: true });
  for (const { name, text } of made.files)
    await writeAtomic(call.context.disk, join(folder, name), toUtf8(text), 0o644);
  const names = made.files.map(({ name }) => name);
  return {
    text: [
      `${product}/${channel} is ${manifest.version}: ${names.join(", ")} in ${folder}`,
      ...(made.publicKey === null ? [] : [`SUPublicEDKey ${made.publicKey}`]),
      "Such a feed is weaker than the repository: it is not signed as a whole, does not expire, and knows no recalls. Make it again after each promotion and recall.",
    ].join("\n"),
    json: { product, channel, version: manifest.version, folder, files: names, publicKey: made.publicKey },
  };
}

type Made = { readonly files: readonly FeedFile[]; readonly publicKey: string | null };

type Work = { readonly call: Call; readonly operator: Operator; readonly draft: Draft; readonly base: URL };

async function make(work: Work, release: FeedRelease, format: string): Promise<Made> {
  const plain = (files: readonly FeedFile[]): Made => ({ files, publicKey: null });
  switch (format) {
    case "electron":
      return plain(electronFeed(release));
    case "winget":
      return plain(wingetFeed(release, describedBy(work.call, release)));
    case "homebrew":
      return plain(homebrewFeed(release, describedBy(work.call, release)));
    default:
      return sparkle(work, release);
  }
}

async function sparkle({ call, operator, draft, base }: Work, release: FeedRelease): Promise<Made> {
  const name = call.text("sparkle-key");
  if (name === undefined)
    throw usage("An appcast is signed: give --sparkle-key, an ed25519 key of this data folder.");
  const signer = await operator.keys.signer(name);
  if (signer.publicKey.scheme !== "ed25519")
    throw usage(`${name} is no ed25519 key; Sparkle takes no other.`);
  const signed: SparkleSigned[] = [];
  for (const item of sparkleItems(release))
    signed.push({
      item,
      signature: toBase64(await signer.sign(await bytesOf(operator, draft, item.artifact))),
    });
  const title = call.text("title") ?? release.manifest.product;
  return {
    files: sparkleFeed(release, signed, { title, link: new URL("appcast.xml", base).href }),
    publicKey: toBase64(signer.publicKey.spki.subarray(-ED25519_LENGTH)),
  };
}

/** Relative to the folder of the repository, on disk and where it is served. Error: `cli/not-found`. */
async function placeOf(draft: Draft, { target }: Artifact): Promise<string> {
  const found = await draft.find(target);
  if (found !== null) return targetFilePath(target, found.file, true);
  throw new CliError("cli/not-found", `The repository does not list ${target}.`, { target });
}

/** From this repository, which verified them when they were added. Sparkle signs the bytes themselves, so all of them are read. */
async function bytesOf(operator: Operator, draft: Draft, artifact: Artifact): Promise<Uint8Array> {
  const path = join(operator.folder, await placeOf(draft, artifact));
  const bytes = new Uint8Array(await readFile(path));
  if (sha256Hex(bytes) === artifact.sha256) return bytes;
  throw new CliError("cli/failed", `${path} is not what the release names; it is not signed.`, { path });
}

function describedBy(call: Call, { manifest }: FeedRelease): Described {
  const texts = ["id", "publisher", "license", "summary", "homepage"] as const;
  return {
    title: call.text("title") ?? manifest.product,
    ...Object.fromEntries(
      texts.flatMap((name) => (call.text(name) === undefined ? [] : [[name, call.text(name)!]])),
    ),
  };
}

function addressOf(base: URL, path: string): string {
  return new URL(path.split("/").map(encodeURIComponent).join("/"), base).href;
}

/** Where the repository is served, with a slash at its end so that paths are added to it. */
function baseOf(call: Call): URL {
  const text = call.needed("url");
  const url = URL.parse(text.endsWith("/") ? text : `${text}/`);
  if (url === null || (url.protocol !== "https:" && !isLoopback(url)))
    throw usage(
      "--url is the https address that serves the repository, for example https://updates.example.org/repository",
    );
  return url;
}

function isLoopback(url: URL): boolean {
  return url.protocol === "http:" && ["127.0.0.1", "[::1]", "localhost"].includes(url.hostname);
}
