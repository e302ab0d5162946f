// What `release add` does: reads the wishes, packs, and hands over to the repository room.

import { basename, resolve } from "node:path";
import { DETACHED_SUFFIX, readDetached } from "../../../artifact/detached/detached.ts";
import { toHex, toUtf8 } from "../../../core/bytes.ts";
import { exists, type Disk } from "../../../core/disk.ts";
import { needsOf } from "../../../core/growth.ts";
import { formatInstant, parseInstant } from "../../../core/instant.ts";
import { showName } from "../../../core/raw-name.ts";
import { compareVersions, parseVersion } from "../../../core/version.ts";
import { packArtifact, sizeOf, type PackedArtifact } from "../../../io/archive/artifact-packer.ts";
import { needsOfKind, programsOfKind } from "../../../release/component-kind.ts";
import { SIGNATURE_LIMIT, type ReleaseManifest } from "../../../release/manifest.ts";
import { cannotRun, contradiction, programKind, programPlatform } from "../../../release/program-header.ts";
import { formatSelector, parseSelector, type Selector } from "../../../release/platform.ts";
import type { NamedKey, RoleSetup } from "../../../repository/publish/new-repository.ts";
import { SOCKETS_FEATURE } from "../../../release/sockets.ts";
import { productRole } from "../../../release/target-names.ts";
import { addRelease, type NewArtifact } from "../../../repository/publish/release-publisher.ts";
import { listReleases } from "../../../repository/publish/release-reader.ts";
import type { Call, Result } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";
import { EXIT } from "../../framework/exit-codes.ts";
import { conclude } from "../repo/ceremony.ts";
import { noReserve, readPublicKey } from "../repo/init.ts";
import { operatorOf, type Operator } from "../repo/operator.ts";
import { attestationsOf, describeAttestations } from "./attestations.ts";
import { noteDropped } from "./dropped.ts";
import { withPatches } from "./patches.ts";
import { notesOf, optional, parseDependency, settingsOf, type ReleaseSettings } from "./settings.ts";
import { signedSources, type Sources } from "./signing.ts";
import { size } from "../../framework/style.ts";

const PIECE_SIZE = 1 << 20;
export async function releaseAdd(call: Call): Promise<Result> {
  const { context } = call;
  const operator = operatorOf(call);
  const [product, version] = [call.argument(0), call.argument(1)];
  parseVersion(version);
  const channel = call.text("channel") ?? "stable";
  const earlier = await highestEarlier(operator, product, version);
  const setup = await newProductSetup(call, operator, product);
  const sources = await signedSources(call, `${operator.folder}/staging`, {
    product,
    version,
    paths: call.argumentsFrom(2).map((word) => splitWord(word).path),
  });
  const packed = await packAll(call, operator, product, version, sources).finally(sources.done);
  let artifacts: readonly NewArtifact[] = packed.map(({ artifact }) => artifact);
  try {
    const settings = await settingsOf(call, product, artifacts, earlier);
    checkPrograms(settings, packed);
    const notes = await notesOf(call);
    const attestations = await attestationsOf(
      call,
      packed.map(({ artifact: { file, sha256 }, before }) => ({ file, sha256, before })),
    );
    await checkPublisher(call, operator, settings.publisher, product, version, packed);
    artifacts = await withPatches(call, operator, product, version, artifacts);
    const promoteTo = call.flag("promote") ? channel : null;
    const dropped =
      promoteTo === null ? [] : await noteDropped(call, operator, { product, version, channel }, artifacts);
    const done = await addRelease(
      operator.releases,
      {
        product,
        version,
        channel,
        security: call.flag("security"),
        ...optional("license", licenseOf(call)),
        ...optional("minimumFrom", call.text("minimum-from")),
        ...optional("floor", call.text("floor")),
        artifacts,
        ...needsOfSettings(settings),
        ...optional("component", settings.component),
        ...optional("entryPoint", settings.entryPoint),
        ...optional("health", settings.health),
        ...optional("sockets", settings.sockets),
        ...optional("handOver", settings.handOver),
        ...optional("publisher", settings.publisher),
        dependencies: [...(settings.dependencies ?? []), ...call.list("needs").map(parseDependency)],
        ...optional("notes", notes),
        attestations,
      },
      setup,
      promoteTo,
    );
    const reason = `add ${product} ${version}${promoteTo === null ? "" : ` and point ${product}/${channel} to it`}`;
    const described = await conclude(call, done.outcome, reason);
    const lines = [
      `${product} ${version}: ${done.manifest.artifacts.map((a) => `${formatSelector(a)} ${size(a.length)}`).join(", ")}`,
      `document SHA-256 ${done.sha256}`,
      ...describeAttestations(attestations).lines,
    ];
    if (done.already) lines.unshift(`already: ${product} ${version} was added before with the same content`);
    if (done.move !== null) lines.push(moveLine(product, version, channel, done.move.before));
    if (done.movedOn !== null)
      lines.push(
        `already: ${product}/${channel} pointed to ${version} before and has gone on to ${done.movedOn}`,
      );
    lines.push(described.text);
    if (promoteTo === null && described.exit === EXIT.ok)
      lines.push(`next: upkeep release promote ${product} ${version} ${channel}`);
    const promoted = described.exit === EXIT.ok && done.move !== null ? channel : null;
    return {
      exit: described.exit,
      text: lines.join("\n"),
      json: {
        product,
        version,
        sha256: done.sha256,
        promoted,
        already: done.already,
        dropped,
        manifest: done.manifest,
        documents: describeAttestations(attestations).json,
        ...described.json,
      },
    };
  } finally {
    const left = artifacts.flatMap(({ staged, patches = [] }) => [
      staged.path,
      ...(staged.zstd === undefined ? [] : [staged.zstd]),
      ...patches.map((patch) => patch.staged.path),
    ]);
    for (const path of left) await context.disk.removeFile(path).catch(() => {});
  }
}

/** What a device has to know to install and start it. */
function needsOfSettings({ component, sockets }: ReleaseSettings): Pick<ReleaseManifest, "needs"> {
  const ofKind = needsOfKind(component);
  return sockets === undefined ? ofKind : { needs: needsOf([SOCKETS_FEATURE], ofKind.needs) };
}

function moveLine(product: string, version: string, channel: string, before: string | null): string {
  return before === version
    ? `already: ${product}/${channel} points to ${version}`
    : `${product}/${channel}: ${before ?? "nothing"} -> ${version}`;
}

/** What devices would refuse is refused here, where it can still be mended. */
async function checkPublisher(
  call: Call,
  operator: Operator,
  pin: ReleaseSettings["publisher"],
  product: string,
  version: string,
  packed: readonly Packed[],
): Promise<void> {
  if (pin === undefined) return;
  const { trustedPublishers } = await import("../repo/publishers.ts");
  const { systemPublisherVerifier } = await import("../../../io/device/publisher-verifier.ts");
  const { certificatePem } = await import("../../../der/x509.ts");
  const authorities = await trustedPublishers(operator, await operator.look());
  if (authorities.length === 0) {
    throw usage(
      "The release pins its publisher, but the repository trusts no authority of publishers.",
      "Add the root of the publisher's certificate first: upkeep repo publishers --add ROOT.pem.",
    );
  }
  const roots = toUtf8(authorities.map(certificatePem).join(""));
  for (const { artifact, source } of packed) {
    const { format, file, installAs, staged, os, arch, signature = null } = artifact;
    if (format !== "file" && signature === null) {
      throw usage(
        `${showName(basename(source))} is published as an archive, which carries no signature of its publisher, and there is none beside it.`,
        "Sign the finished archive: upkeep sign --detached ARCHIVE.tar.gz writes ARCHIVE.tar.gz.sig, which is published with it.",
      );
    }
    const platform = os === "any" || arch === "any" ? null : { os, arch };
    await systemPublisherVerifier(
      { path: staged.path, name: installAs ?? file, product, version, platform, signature },
      pin,
      roots,
      call.context.clock.now(),
    );
  }
}

/** `[PLATFORM=]PATH` */
function splitWord(word: string): { readonly declared: Selector | null; readonly path: string } {
  const match = /^(any|linux|windows|darwin)(-[a-z0-9-]+)?=(.*)$/.exec(word);
  if (match === null) return { declared: null, path: resolve(word) };
  return { declared: parseSelector(`${match[1]!}${match[2] ?? ""}`), path: resolve(match[3]!) };
}

async function packAll(
  call: Call,
  operator: Operator,
  product: string,
  version: string,
  sources: Sources,
): Promise<readonly Packed[]> {
  const { disk, random } = call.context;
  const out: Packed[] = [];
  for (const word of call.argumentsFrom(2)) {
    const { declared, path } = splitWord(word);
    const { path: source, before } = sources.of(path);
    const shown = showName(basename(path));
    const bar = call.context.progress(`packing ${shown}`, await sizeOf(disk, source));
    try {
      const packed = await packArtifact(source, {
        disk,
        random,
        staging: `${operator.folder}/staging`,
        pieceSize: PIECE_SIZE,
        onBytes: (bytes) => bar.advance(bytes),
        names: declared?.os ?? "any",
        asFile: call.flag("as-file"),
        archive: call.text("archive") === "tar.gz" ? "tar.gz" : "tar",
      });
      if (packed.note !== null) call.context.note(`${shown}: ${packed.note}`);
      const { format, length, sha256, sha512, pieceSize, merkleRoot, unpackedLength } = packed;
      // A program says itself what it was built for; a folder is for any platform unless said otherwise.
      const own = programPlatform(packed.programs.get("") ?? new Uint8Array(0));
      const selector = declared ?? own ?? parseSelector("any");
      if (declared === null && own !== null)
        call.context.note(`${shown} was built for ${formatSelector(own)}`);
      const artifact = {
        ...selector,
        format,
        length,
        sha256,
        sha512,
        pieceSize,
        merkleRoot,
        unpackedLength,
        ...(format === "file" ? { installAs: product } : {}),
        ...optional(
          "signature",
          format === "file" ? undefined : await signatureBeside(disk, source, packed.packed),
        ),
        file: `${product}-${version}-${formatSelector(selector)}${packed.suffix}`,
        staged: { path: packed.path, length },
      };
      out.push({ artifact, source: path, programs: packed.programs, hollow: packed.hollow, before });
    } finally {
      bar.done();
    }
  }
  return out;
}

/** FILE.sig, which `sign --detached` wrote. Errors: `artifact/bad-signature` when it is none, `artifact/too-large`, `cli/usage`. */
async function signatureBeside(
  disk: Disk,
  source: string,
  repacked: boolean,
): Promise<Uint8Array | undefined> {
  const path = `${source}${DETACHED_SUFFIX}`;
  if (!(await exists(disk, path))) return undefined;
  if (repacked) {
    throw usage(
      `${showName(basename(path))} is a signature of ${showName(basename(source))}, which is packed again, so that other bytes are published than were signed.`,
      "Make a .tar.gz or .zip, sign that, and release it.",
    );
  }
  const bytes = await disk.read(path, SIGNATURE_LIMIT);
  readDetached(bytes);
  return bytes;
}

type Packed = {
  readonly artifact: NewArtifact;
  /** SHA-256 before the signing service signed it. */
  readonly before: string | null;
  readonly source: string;
  readonly programs: PackedArtifact["programs"];
  readonly hollow: PackedArtifact["hollow"];
};

/** A release that no device could start is noticed here, not on the devices. */
function checkPrograms(settings: ReleaseSettings, packed: readonly Packed[]): void {
  const { component, entryPoint, health } = settings;
  const programs = [
    entryPoint?.command[0],
    health?.kind === "command" ? health.command[0] : undefined,
    ...programsOfKind(component),
  ];
  for (const program of programs) {
    if (program === undefined) continue;
    for (const { artifact, source, programs: there, hollow } of packed) {
      const name = showName(basename(source));
      if (hollow.has(program))
        throw usage(`${program} in ${name} is an empty file.`, "Look whether the build that made it failed.");
      const head = there.get(artifact.installAs === program ? "" : program);
      const wrong = head === undefined ? null : contradiction(head, artifact);
      if (wrong !== null) {
        throw usage(
          `${program} in ${name} was built for ${wrong}, and the artifact is said to be for ${formatSelector(artifact)}.`,
          /^(?:linux|windows|darwin)(?:-|$)/.test(wrong)
            ? `Give it as ${wrong}=${source}.`
            : "There are no devices that run it; build it for one of the platforms.",
        );
      }
      // A link has no bytes of its own here; what it leads to is looked at by the device.
      const file = head === undefined || head.length === 0 ? null : programKind(head);
      // For any system at all, only a script's own first line can be judged.
      const judged = artifact.os === "any" ? file?.kind === "script" : artifact.os !== "windows";
      const bad = file === null || !judged ? null : cannotRun(file, artifact);
      if (bad !== null)
        throw usage(
          `${program} in ${name} cannot be started by any device: ${bad}.`,
          "A script begins with #! and its interpreter, and its lines end with a line feed only.",
        );
      // On Windows a program without extension is looked up with .exe as well, and there is no executable bit.
      if (head !== undefined || artifact.os === "windows") continue;
      if (artifact.format === "file") {
        throw usage(
          `${name} is a single file and is installed as ${String(artifact.installAs)}; there is no ${program} in it.`,
          `Leave --run out, or start it with --run "${String(artifact.installAs)} ARGUMENTS".`,
        );
      }
      throw usage(
        `${name} holds no executable file ${program}, so no device could start it.`,
        "Check the path inside the artifact, and the executable bit (chmod +x).",
      );
    }
  }
}

async function highestEarlier(
  operator: Operator,
  product: string,
  version: string,
): Promise<ReleaseManifest | null> {
  const all = await listReleases(operator.releases, await operator.look(), product);
  const below = all.filter(
    ({ manifest }) => compareVersions(parseVersion(manifest.version), parseVersion(version)) < 0,
  );
  return below.at(-1)?.manifest ?? null;
}

/** New products are signed for by the key named `products`. Null when it is not here: then no new product can be made. */
/**
 * Who signs for a product that is new: the people whose public keys are given, so that nobody releases alone, or else the key `products`
 * of this data folder. Null when there is neither.
 */
async function newProductSetup(call: Call, operator: Operator, product: string): Promise<RoleSetup | null> {
  const files = call.list("product-key");
  if (files.length === 0) {
    if (call.text("product-threshold") !== undefined)
      throw usage("--product-threshold needs the keys: give --product-key for each person.");
    return storedSetup(operator);
  }
  if ((await (await operator.look()).delegatorOf(productRole(product))) !== null) {
    throw usage(
      `${product} exists already; who signs for it is not changed by adding a release.`,
      `upkeep repo rotate ${productRole(product)} puts another key in the place of one.`,
    );
  }
  const keys: NamedKey[] = [];
  for (const file of files) keys.push(await readPublicKey(call, file));
  if (new Set(keys.map(({ key }) => toHex(key.spki))).size !== keys.length)
    throw usage("Two product keys are the same key.");
  const threshold = call.whole("product-threshold", 1, keys.length) ?? Math.min(2, keys.length);
  if (keys.length > 1 && threshold === keys.length)
    call.context.note(noReserve(productRole(product), threshold));
  return { keys, threshold };
}

/** The newest of the keys `products`, `products-r2`, …: after a rotation the older ones may be in the hands of a thief. */
async function storedSetup(operator: Operator): Promise<RoleSetup | null> {
  let newest: { readonly number: number; readonly key: NamedKey } | null = null;
  for (const { name, publicKey } of await operator.keys.list()) {
    const match = /^products(?:-r(\d+))?$/.exec(name);
    const number = Number(match?.[1] ?? 1);
    if (match !== null && (newest === null || number > newest.number))
      newest = { number, key: { name, key: publicKey } };
  }
  return newest === null ? null : { keys: [newest.key], threshold: 1 };
}

/** Which license it comes with; undefined for a release that is free to everyone. */
function licenseOf(call: Call): ReleaseManifest["license"] {
  const editions = call.list("edition");
  const backdated = call.text("backdated-to");
  if (!call.flag("licensed") && editions.length === 0 && backdated === undefined) return undefined;
  return {
    ...(editions.length === 0 ? {} : { editions: [...editions] }),
    ...(backdated === undefined ? {} : { backdatedTo: formatInstant(parseInstant(backdated)) }),
  };
}
