// What `release feed` does: a channel's release in the form that other people's update clients read.

import { mkdir, readFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { toBase64, toUtf8 } from "../../../core/bytes.ts";
import { exists, writeAtomic } from "../../../core/disk.ts";
import { homebrewFeed, wingetFeed, type Described } from "../../../feed/catalogs.ts";
import { electronFeed } from "../../../feed/electron.ts";
import type { FeedFile, FeedItem, FeedRelease } from "../../../feed/feed.ts";
import { sparkleFeed, sparkleItems, type SparkleSigned } from "../../../feed/sparkle.ts";
import type { Artifact } from "../../../release/manifest.ts";
import { parseTargetName, targetPath } from "../../../repository/names.ts";
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
  const items = manifest.artifacts.map((artifact) => ({
    artifact,
    url: new URL(placeOf(artifact), base).href,
  }));
  const release: FeedRelease = { manifest, channel, items };
  const made = await make(call, operator, release, format, base);
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

async function make(
  call: Call,
  operator: Operator,
  release: FeedRelease,
  format: string,
  base: URL,
): Promise<Made> {
  const plain = (files: readonly FeedFile[]): Made => ({ files, publicKey: null });
  switch (format) {
    case "electron":
      return plain(electronFeed(release));
    case "winget":
      return plain(wingetFeed(release, describedBy(call, release)));
    case "homebrew":
      return plain(homebrewFeed(release, describedBy(call, release)));
    default:
      return sparkle(call, operator, release, base);
  }
}

async function sparkle(call: Call, operator: Operator, release: FeedRelease, base: URL): Promise<Made> {
  const name = call.text("sparkle-key");
  if (name === undefined)
    throw usage("An appcast is signed: give --sparkle-key, an ed25519 key of this data folder.");
  const signer = await operator.keys.signer(name);
  if (signer.publicKey.scheme !== "ed25519")
    throw usage(`${name} is no ed25519 key; Sparkle takes no other.`);
  const signed: SparkleSigned[] = [];
  for (const item of sparkleItems(release))
    signed.push({ item, signature: toBase64(await signer.sign(await bytesOf(call, operator, item))) });
  const title = call.text("title") ?? release.manifest.product;
  return {
    files: sparkleFeed(release, signed, { title, link: new URL("appcast.xml", base).href }),
    publicKey: toBase64(signer.publicKey.spki.subarray(-ED25519_LENGTH)),
  };
}

/** Relative to the folder of the repository, on disk and where it is served. */
function placeOf({ target, sha256 }: Artifact): string {
  return `targets/${targetPath(parseTargetName(target), sha256)}`;
}

/** From this repository, which verified them when they were added. Sparkle signs the bytes themselves, so all of them are read. */
async function bytesOf(call: Call, operator: Operator, { artifact }: FeedItem): Promise<Uint8Array> {
  const path = join(operator.folder, placeOf(artifact));
  if (!(await exists(call.context.disk, path)))
    throw new CliError("cli/not-found", `${artifact.target} is not in this repository.`, { path });
  return new Uint8Array(await readFile(path));
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
