// Manifests for catalogs of programs: winget (Windows) and Homebrew (Linux and macOS). A person hands them in; the catalog's own review decides.

import {
  FeedError,
  itemsFor,
  nothingFits,
  onlyItem,
  yamlText,
  type FeedFile,
  type FeedRelease,
} from "./feed.ts";

export type Described = {
  /** Such as `Example.Shop` for winget. */
  readonly id?: string;
  readonly publisher?: string;
  readonly title: string;
  readonly license?: string;
  readonly summary?: string;
  readonly homepage?: string;
};

const WINGET_SCHEMA = "1.6.0";
/** By the end of the file's name; winget knows more kinds, which need more words about themselves. */
const INSTALLERS: { readonly [end: string]: string } = { msi: "msi", msix: "msix", exe: "exe" };

/** The three files of a winget package. Errors: `feed/nothing-fits`, `feed/ambiguous`, `feed/needs-text`. */
export function wingetFeed(release: FeedRelease, described: Described): readonly FeedFile[] {
  const { version } = release.manifest;
  const found = (["x64", "arm64"] as const)
    .map((arch) => onlyItem(itemsFor(release, "windows"), arch, "winget"))
    .filter((item) => item !== null);
  if (found.length === 0) throw nothingFits("winget", release);
  const id = needed(described, "id");
  const head = (type: string): readonly string[] => [
    `# yaml-language-server: $schema=https://aka.ms/winget-manifest.${type.toLowerCase()}.${WINGET_SCHEMA}.schema.json`,
    `PackageIdentifier: ${yamlText(id)}`,
    `PackageVersion: ${yamlText(version)}`,
  ];
  const foot = (type: string): readonly string[] => [
    `ManifestType: ${type}`,
    `ManifestVersion: ${WINGET_SCHEMA}`,
  ];
  const installers = found.flatMap(({ artifact, url }) => {
    const end = /\.([a-z0-9]+)$/i.exec(artifact.target)?.[1]?.toLowerCase() ?? "";
    return [
      `  - Architecture: ${artifact.arch}`,
      `    InstallerType: ${INSTALLERS[end] ?? "portable"}`,
      `    InstallerUrl: ${yamlText(url)}`,
      `    InstallerSha256: ${artifact.sha256.toUpperCase()}`,
    ];
  });
  const file = (name: string, lines: readonly string[]): FeedFile => ({
    name,
    text: `${lines.join("\n")}\n`,
  });
  return [
    file(`${id}.yaml`, [...head("version"), "DefaultLocale: en-US", ...foot("version")]),
    file(`${id}.installer.yaml`, [...head("installer"), "Installers:", ...installers, ...foot("installer")]),
    file(`${id}.locale.en-US.yaml`, [
      ...head("defaultLocale"),
      "PackageLocale: en-US",
      `Publisher: ${yamlText(needed(described, "publisher"))}`,
      `PackageName: ${yamlText(described.title)}`,
      `License: ${yamlText(needed(described, "license"))}`,
      `ShortDescription: ${yamlText(needed(described, "summary"))}`,
      ...foot("defaultLocale"),
    ]),
  ];
}

/** A Homebrew formula that installs one program, for what the release has of Linux and macOS. Errors: as `wingetFeed`. */
export function homebrewFeed(release: FeedRelease, described: Described): readonly FeedFile[] {
  const { product, version } = release.manifest;
  const blocks: string[] = [];
  for (const [os, word] of [
    ["darwin", "on_macos"],
    ["linux", "on_linux"],
  ] as const) {
    const items = (["arm64", "x64"] as const).flatMap((arch) => {
      const item = onlyItem(itemsFor(release, os), arch, "Homebrew");
      if (item === null) return [];
      return [
        `    on_${arch === "arm64" ? "arm" : "intel"} do`,
        `      url ${ruby(item.url)}${item.artifact.format === "file" ? ", using: :nounzip" : ""}`,
        `      sha256 ${ruby(item.artifact.sha256)}`,
        "    end",
      ];
    });
    if (items.length > 0) blocks.push(`  ${word} do`, ...items, "  end");
  }
  if (blocks.length === 0) throw nothingFits("Homebrew", release);
  const name = product
    .split(/[^a-z0-9]+/)
    .map((part) => part.slice(0, 1).toUpperCase() + part.slice(1))
    .join("");
  const text = [
    `class ${/^[A-Z]/.test(name) ? name : `X${name}`} < Formula`,
    `  desc ${ruby(needed(described, "summary"))}`,
    `  homepage ${ruby(needed(described, "homepage"))}`,
    `  version ${ruby(version)}`,
    `  license ${ruby(needed(described, "license"))}`,
    ...blocks,
    "  def install",
    '    if File.directory?("bin")',
    '      prefix.install Dir["*"]',
    "    else",
    `      bin.install Dir["*"].first => ${ruby(product)}`,
    "    end",
    "  end",
    "end",
  ];
  return [{ name: `${product}.rb`, text: `${text.join("\n")}\n` }];
}

function needed(described: Described, what: Exclude<keyof Described, "title">): string {
  const text = described[what];
  if (text !== undefined && text !== "") return text;
  throw new FeedError("feed/needs-text", `This catalog wants to know more of the product: give --${what}.`, {
    option: what,
  });
}

/** A Ruby string in which nothing is interpolated. */
function ruby(text: string): string {
  return `'${text.replace(/[\\']/g, "\\$&").replace(/[\r\n]+/g, " ")}'`;
}
