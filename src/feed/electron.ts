// The files that electron-updater reads: `latest.yml` and its siblings for Linux and macOS.

import { fromHex, toBase64 } from "../core/bytes.ts";
import {
  itemsFor,
  nothingFits,
  onlyItem,
  yamlText,
  type FeedFile,
  type FeedItem,
  type FeedRelease,
} from "./feed.ts";

/** What electron-updater looks for: the channel's name, then the system, and on Linux the architecture unless it is x64. */
const SYSTEMS = [
  { os: "windows", suffix: "", arches: [["x64", "arm64"]] },
  { os: "darwin", suffix: "-mac", arches: [["x64", "arm64"]] },
  { os: "linux", suffix: "-linux", arches: [["x64"], ["arm64"]] },
] as const;

/** Our `stable` is its `latest`; other channels keep their names. Errors: `feed/nothing-fits`, `feed/ambiguous`. */
export function electronFeed(release: FeedRelease): readonly FeedFile[] {
  const channel = release.channel === "stable" ? "latest" : release.channel;
  const files: FeedFile[] = [];
  for (const { os, suffix, arches } of SYSTEMS) {
    for (const together of arches) {
      const found = together
        .map((arch) => onlyItem(itemsFor(release, os), arch, "electron-updater"))
        .filter((item) => item !== null);
      if (found.length === 0) continue;
      const special = os === "linux" && together[0] === "arm64" ? "-arm64" : "";
      files.push({ name: `${channel}${suffix}${special}.yml`, text: yaml(release, found) });
    }
  }
  if (files.length === 0) throw nothingFits("electron-updater", release);
  return files;
}

function yaml({ manifest }: FeedRelease, items: readonly FeedItem[]): string {
  const { version, published, notes } = manifest;
  const lines = [
    "# Weaker than the repository that it was made from: this file is not signed and does not expire.",
    `version: ${yamlText(version)}`,
    "files:",
    ...items.flatMap(({ artifact, url }) => [
      `  - url: ${yamlText(url)}`,
      `    sha512: ${yamlText(toBase64(fromHex(artifact.sha512)))}`,
      `    size: ${artifact.length}`,
    ]),
    // Clients from before `files` read these two.
    `path: ${yamlText(items[0]!.url)}`,
    `sha512: ${yamlText(toBase64(fromHex(items[0]!.artifact.sha512)))}`,
    `releaseDate: ${yamlText(published)}`,
    ...(notes === undefined ? [] : [`releaseNotes: ${yamlText(notes)}`]),
  ];
  return `${lines.join("\n")}\n`;
}
