// The appcast that Sparkle 2 (macOS) and WinSparkle (Windows) read, with an Ed25519 signature for each file.

import { parseInstant } from "../core/instant.ts";
import {
  FeedError,
  itemsFor,
  nothingFits,
  onlyItem,
  xmlText,
  type FeedFile,
  type FeedItem,
  type FeedRelease,
} from "./feed.ts";

export type SparkleSigned = {
  readonly item: FeedItem;
  /** Ed25519 over the file's bytes, base64. */
  readonly signature: string;
};

/** Values of `sparkle:os`: Sparkle takes what has none, WinSparkle what names its system and architecture. */
const WINDOWS = { x64: "windows-x64", arm64: "windows-arm64", any: "windows" } as const;

/** What has to be signed for an appcast. Errors: `feed/nothing-fits`, `feed/ambiguous`. */
export function sparkleItems(release: FeedRelease): readonly FeedItem[] {
  const mac = itemsFor(release, "darwin");
  if (mac.length > 1) {
    throw new FeedError(
      "feed/ambiguous",
      "An appcast has room for one file for macOS, and the release has several: Sparkle expects a universal program.",
      { targets: mac.map(({ artifact }) => artifact.target) },
    );
  }
  const windows = (["x64", "arm64", "any"] as const)
    .map((arch) => onlyItem(itemsFor(release, "windows"), arch, "an appcast"))
    .filter((item) => item !== null);
  const items = [...mac, ...windows];
  if (items.length === 0) throw nothingFits("Sparkle", release);
  return items;
}

/** `title`: how people know the product. `link`: where the appcast itself will be. */
export function sparkleFeed(
  { manifest, channel }: FeedRelease,
  signed: readonly SparkleSigned[],
  { title, link }: { readonly title: string; readonly link: string },
): readonly FeedFile[] {
  const { version, published, notes, security } = manifest;
  const items = signed.map(({ item: { artifact, url }, signature }) => {
    const os = artifact.os === "windows" ? ` sparkle:os="${WINDOWS[artifact.arch]}"` : "";
    return [
      "    <item>",
      `      <title>${xmlText(version)}</title>`,
      `      <pubDate>${new Date(parseInstant(published)).toUTCString()}</pubDate>`,
      `      <sparkle:version>${xmlText(version)}</sparkle:version>`,
      `      <sparkle:shortVersionString>${xmlText(version)}</sparkle:shortVersionString>`,
      ...(channel === "stable" ? [] : [`      <sparkle:channel>${xmlText(channel)}</sparkle:channel>`]),
      ...(artifact.minimumOs === undefined
        ? []
        : [
            `      <sparkle:minimumSystemVersion>${xmlText(artifact.minimumOs)}</sparkle:minimumSystemVersion>`,
          ]),
      ...(security ? ["      <sparkle:criticalUpdate/>"] : []),
      ...(notes === undefined
        ? []
        : [`      <description sparkle:format="plain-text">${xmlText(notes)}</description>`]),
      `      <enclosure url="${xmlText(url)}" length="${artifact.length}" type="application/octet-stream"${os} sparkle:edSignature="${signature}"/>`,
      "    </item>",
    ].join("\n");
  });
  const text = [
    '<?xml version="1.0" encoding="utf-8"?>',
    "<!-- Weaker than the repository that it was made from: only the files are signed, and the list does not expire. -->",
    '<rss version="2.0" xmlns:sparkle="http://www.andymatuschak.org/xml-namespaces/sparkle">',
    "  <channel>",
    `    <title>${xmlText(title)}</title>`,
    `    <link>${xmlText(link)}</link>`,
    ...items,
    "  </channel>",
    "</rss>",
  ];
  return [{ name: "appcast.xml", text: `${text.join("\n")}\n` }];
}
