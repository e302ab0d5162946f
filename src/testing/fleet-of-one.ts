// A publisher, a repository and an update server for one device, in memory, with real signatures; edited like a document.

import { generateKeyPairSync } from "node:crypto";
import { gzipSync } from "node:zlib";
import { concat, toBase64, toBase64Url, toUtf8 } from "../core/bytes.ts";
import { digestsOf, RunningMerkle, sha256, sha256Hex } from "../core/digest.ts";
import { makeDirectories, parentOf, statOrNull } from "../core/disk.ts";
import { formatInstant, MINUTE, parseInstant, type Instant } from "../core/instant.ts";
import type { Clock } from "../core/clock.ts";
import type { Disk } from "../core/disk.ts";
import { localSigner } from "../keys/signer.ts";
import { signAssignment, type Assignment, type AssignedComponent } from "../message/assignment.ts";
import type { CheckInAnswer, CheckInRequest } from "../message/check-in.ts";
import type { ReportResult } from "../message/reports.ts";
import type { Wake } from "../message/wake.ts";
import { MirrorError } from "../mirror/errors.ts";
import { makeHd1 } from "../delta/hd1.ts";
import { signChannel, type Recalled } from "../release/channel.ts";
import { openRelease, signRelease, type Artifact, type ReleaseManifest } from "../release/manifest.ts";
import { patchFile } from "../release/patches.ts";
import { tarEnd, tarHeader, tarPadding } from "../release/tar-writer.ts";
import {
  artifactTarget,
  channelTarget,
  releaseTarget,
  TRUST_BUNDLE_TARGET,
  TRUSTED_KEYS_TARGET,
} from "../release/target-names.ts";
import { serialiseTrustedKeys } from "../release/trusted-keys.ts";
import { openReport, type Report } from "../report/report.ts";
import type {
  DeviceIdentity,
  Downloaded,
  DownloadOptions,
  Notice,
  Releases,
  Repository,
  UpdateServer,
} from "../agent/ports.ts";

const DEVICE = "0a0b0c0d-0000-4000-8000-000000000001";

export class FleetOfOne implements Repository, UpdateServer {
  readonly #clock: Clock;
  readonly #disk: () => Disk;
  readonly publisher = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
  readonly director = localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519");
  readonly identity: DeviceIdentity = {
    device: DEVICE,
    key: localSigner(generateKeyPairSync("ed25519").privateKey, "ed25519"),
  };
  /** Every target by name: change bytes here to be an attacker with the targets key, or use `mirror` to be one without. */
  readonly targets = new Map<string, Uint8Array>();
  /** Bytes that a mirror serves instead; the digests that TUF lists stay those of `targets`. */
  readonly mirror = new Map<string, Uint8Array>();
  /** What the device is assigned. */
  readonly assigned = new Map<string, AssignedComponent>();
  readonly reports: Report[] = [];
  /** Edits the assignment after it was made and before it is signed. */
  editAssignment: (assignment: Assignment) => Assignment = (assignment) => assignment;
  /** Edits the signed envelope. */
  editEnvelope: (envelope: Uint8Array) => Uint8Array = (envelope) => envelope;
  repositoryDown = false;
  /** When the timestamp of the repository expires. */
  freshUntil: Instant | null = null;
  /** Thrown by the next refreshes, when set. */
  repositoryTrouble: Error | null = null;
  notices: readonly Notice[] = [];
  serverDown = false;
  interval = 300;
  /** False for a server from before marks. */
  givesMarks = true;
  /** Of the server's audit log, for devices to witness. */
  auditHead: CheckInAnswer["auditHead"] | null = null;
  checkIns: CheckInRequest[] = [];
  #wakers: ((wake: Wake) => void)[] = [];
  #seq = 0;

  constructor(clock: Clock, disk: () => Disk) {
    this.#clock = clock;
    this.#disk = disk;
    const keys = new Map(
      [this.publisher, this.director].map(({ publicKey }) => [publicKey.keyid, publicKey]),
    );
    const grant = (kind: "release" | "channel" | "assignment", keyid: string) => ({
      kind,
      products: "*" as const,
      keyids: [keyid],
      threshold: 1,
    });
    const { publisher, director } = this;
    const grants = [
      grant("release", publisher.publicKey.keyid),
      grant("channel", publisher.publicKey.keyid),
      grant("assignment", director.publicKey.keyid),
    ];
    this.targets.set(TRUSTED_KEYS_TARGET, serialiseTrustedKeys({ keys, grants }));
  }

  /** Publishes a release whose one program behaves as told, and returns its manifest. */
  async publish(
    product: string,
    version: string,
    behaviour: string,
    changes: Partial<ReleaseManifest> = {},
    archive: "tar" | "tar.gz" | "file" = "tar.gz",
  ): Promise<ReleaseManifest> {
    const program = toUtf8(`${behaviour} ${product} ${version}\n`);
    const bytes = packed(archive, program);
    const file = archive === "file" ? "service" : `${product}.${archive}`;
    const target = artifactTarget(product, version, file);
    this.targets.set(target, bytes);
    const merkle = new RunningMerkle(1 << 18);
    merkle.update(bytes);
    const artifact: Artifact = {
      os: "linux",
      arch: "x64",
      target,
      format: archive,
      length: bytes.length,
      ...digestsOf(bytes),
      pieceSize: 1 << 18,
      merkleRoot: merkle.rootHex(),
      unpackedLength: program.length,
      deltas: [],
    };
    const manifest: ReleaseManifest = {
      product,
      version,
      channel: "stable",
      published: formatInstant(this.#clock.now()),
      security: false,
      artifacts: [artifact],
      entryPoint: {
        command: [archive === "file" ? "service" : "bin/service"],
        env: { PORT: portFor(product) },
      },
      health: {
        kind: "http",
        path: "/health",
        port: { env: "PORT" },
        startSeconds: 5,
        intervalSeconds: 1,
        timeoutSeconds: 1,
        successes: 2,
        failures: 2,
        probationSeconds: 5,
      },
      dependencies: [],
      ...changes,
    };
    // Nothing is started of data, and nothing watched.
    const { entryPoint: _, health: __, ...data } = manifest;
    const published = behaviour.startsWith("data") ? data : manifest;
    this.targets.set(releaseTarget(product, version), await signRelease(published, [this.publisher]));
    return published;
  }

  /** Signs another manifest for a release that was published. */
  async replace(manifest: ReleaseManifest): Promise<void> {
    const { product, version } = manifest;
    this.targets.set(releaseTarget(product, version), await signRelease(manifest, [this.publisher]));
  }

  /** Adds a patch to a release that was published, and returns the patch's target. */
  async addPatch(manifest: ReleaseManifest, from: ReleaseManifest): Promise<string> {
    const [artifact, base] = [manifest.artifacts[0]!, from.artifacts[0]!];
    const patch = makeHd1(this.targets.get(base.target)!, this.targets.get(artifact.target)!);
    const ends = { from: base.sha256, to: artifact.sha256, algorithm: "hd1" };
    const target = artifactTarget(manifest.product, manifest.version, patchFile(ends));
    this.targets.set(target, patch);
    const document = releaseTarget(manifest.product, manifest.version);
    const { deltas } = openRelease(
      this.targets.get(document)!,
      { keys: [this.publisher.publicKey], threshold: 1 },
      manifest,
    ).artifacts[0]!;
    const added = { from: from.version, algorithm: "hd1", target };
    const artifacts = [{ ...artifact, deltas: [...deltas, added] }];
    this.targets.set(document, await signRelease({ ...manifest, artifacts }, [this.publisher]));
    return target;
  }

  /** Moves the channel, and assigns the release. */
  async promote(product: string, version: string, recalled: readonly Recalled[] = []): Promise<void> {
    const target = releaseTarget(product, version);
    const sha256 = sha256Hex(this.targets.get(target)!);
    const pointer = {
      product,
      channel: "stable",
      version,
      target,
      sha256,
      updated: formatInstant(this.#clock.now()),
      steps: [],
      recalled: [...recalled],
    };
    this.targets.set(channelTarget(product, "stable"), await signChannel(pointer, [this.publisher]));
    this.assigned.set(product, { product, channel: "stable", release: { version, manifestSha256: sha256 } });
  }

  wake(): void {
    this.#seq++;
    for (const waker of this.#wakers) waker({ type: "check", seq: this.#seq });
  }

  async refresh(): Promise<Releases> {
    if (this.repositoryDown) throw unreachable("repository");
    if (this.repositoryTrouble !== null) throw this.repositoryTrouble;
    const listed = new Map(this.targets);
    return {
      timestampSha256: null,
      freshUntil: this.freshUntil,
      notices: this.notices,
      document: async (name, limit) => {
        const bytes = listed.get(name);
        const served = this.mirror.get(name) ?? bytes;
        if (bytes === undefined || served === undefined)
          throw new MirrorError("mirror/not-found", `${name} is not listed.`, { path: name });
        if (sha256Hex(served) !== sha256Hex(bytes) || bytes.length > limit) throw wrongContent(name);
        return bytes;
      },
      trustBundle: async (known) => {
        const bytes = listed.get(TRUST_BUNDLE_TARGET);
        return bytes === undefined || sha256Hex(bytes) === known ? null : bytes;
      },
      download: (artifact, part, options) => this.#download(artifact, part, options),
      listed: async (target) => {
        const bytes = listed.get(target);
        if (bytes === undefined) return null;
        const described = { target, length: bytes.length, sha256: sha256Hex(bytes) };
        return { ...described, fetch: (part, options) => this.#download(described, part, options) };
      },
    };
  }

  async #download(
    artifact: Pick<Artifact, "target" | "sha256">,
    part: string,
    options: DownloadOptions,
  ): Promise<Downloaded> {
    const { progress } = options;
    if (this.repositoryDown) throw unreachable("repository");
    const disk = this.#disk();
    const bytes = this.mirror.get(artifact.target) ?? this.targets.get(artifact.target);
    if (bytes === undefined)
      throw new MirrorError("mirror/not-found", `${artifact.target} is not there.`, {});
    await makeDirectories(disk, parentOf(part));
    const present = (await statOrNull(disk, part))?.size ?? 0;
    const file = await disk.open(part, "write", 0o600);
    try {
      if (present > bytes.length) await file.truncate(0);
      const at = present > bytes.length ? 0 : present;
      await file.write(at, bytes.subarray(at));
      await file.sync();
      progress(bytes.length);
    } finally {
      await file.close();
    }
    if (sha256Hex(await disk.read(part, bytes.length)) !== artifact.sha256) {
      await disk.removeFile(part);
      // What lay there from before may have been damaged by a crash: only a whole new copy tells about the source.
      if (present > 0) return this.#download(artifact, part, options);
      throw wrongContent(artifact.target);
    }
    return { bytes: bytes.length - Math.min(present, bytes.length), source: "origin" };
  }

  async checkIn(request: CheckInRequest): Promise<CheckInAnswer> {
    if (this.serverDown) throw unreachable("server");
    this.checkIns.push(request);
    const now = this.#clock.now();
    const assignment = this.editAssignment({
      device: DEVICE,
      nonce: request.nonce,
      issued: formatInstant(now),
      expires: formatInstant(now + 10 * MINUTE),
      components: [...this.assigned.values()],
    });
    const envelope = this.editEnvelope(await signAssignment(assignment, this.director));
    return {
      assignment: toBase64(envelope),
      interval: this.interval,
      seq: this.#seq,
      ...this.#nextMark(request),
    };
  }

  #nextMark(request: CheckInRequest): Pick<CheckInAnswer, "mark" | "auditHead"> {
    const head = this.auditHead ?? null;
    const given = head === null ? {} : { auditHead: head };
    if (request.mark === undefined || !this.givesMarks) return given;
    return { ...given, mark: toBase64Url(sha256(toUtf8(request.nonce)).subarray(0, 16)) };
  }

  async sendReports(envelopes: readonly Uint8Array[]): Promise<readonly ReportResult[]> {
    if (this.serverDown) throw unreachable("server");
    return envelopes.map((envelope): ReportResult => {
      const expected = { key: this.identity.key.publicKey, device: DEVICE };
      const { report } = openReport(envelope, expected);
      const known = this.reports.some((other) => other.id === report.id);
      if (!known) this.reports.push(report);
      return { sha256: sha256Hex(envelope), result: known ? "duplicate" : "accepted" };
    });
  }

  async *wakeUps(after: number, signal: AbortSignal): AsyncGenerator<Wake> {
    if (this.serverDown) throw unreachable("server");
    if (this.#seq > after) yield { type: "check", seq: this.#seq };
    while (!signal.aborted) {
      const wake = await new Promise<Wake | null>((resolve) => {
        this.#wakers.push(resolve);
        signal.addEventListener("abort", () => resolve(null), { once: true });
      });
      this.#wakers = [];
      if (wake === null) return;
      yield wake;
    }
  }
}

/** A port per product, so that probes reach the right one. */
export function portFor(product: string): string {
  return String(20_000 + (Number.parseInt(sha256Hex(toUtf8(product)).slice(0, 4), 16) % 10_000));
}

/** The day on which the scripted world begins. */
export const DAY_ZERO = parseInstant("2026-11-21T04:00:00Z");

function unreachable(what: string): MirrorError {
  return new MirrorError("mirror/unreachable", `The ${what} cannot be reached.`, { source: what });
}

function wrongContent(name: string): MirrorError {
  return new MirrorError("mirror/wrong-content", `${name} does not have the listed digest.`, { path: name });
}

function packed(archive: "tar" | "tar.gz" | "file", program: Uint8Array): Uint8Array {
  switch (archive) {
    case "file":
      return program;
    case "tar.gz":
      return gzipSync(tarWith("bin/service", program));
    case "tar": {
      const entry = { kind: "file", path: "bin/service", size: program.length, executable: true } as const;
      return concat([
        tarHeader({ kind: "directory", path: "bin" }),
        tarHeader(entry),
        program,
        tarPadding(program.length),
        tarEnd(),
      ]);
    }
  }
}

function tarWith(name: string, body: Uint8Array): Uint8Array {
  const header = new Uint8Array(512);
  const put = (at: number, text: string): void => header.set(toUtf8(text), at);
  put(0, name);
  put(100, "0000755\0");
  put(124, `${body.length.toString(8).padStart(11, "0")}\0`);
  put(148, "        ");
  put(156, "0");
  put(257, "ustar\u000000");
  const sum = header.reduce((total, byte) => total + byte, 0);
  put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return concat([header, body, new Uint8Array(((512 - (body.length % 512)) % 512) + 1024)]);
}
