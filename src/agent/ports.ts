// What the agent needs from outside, each port a handful of methods.

import type { Clock } from "../core/clock.ts";
import type { Disk } from "../core/disk.ts";
import type { DsseSigner } from "../core/dsse.ts";
import type { Program } from "../core/growth.ts";
import type { Instant } from "../core/instant.ts";
import type { Random } from "../core/random.ts";
import type { CheckInAnswer, CheckInRequest } from "../message/check-in.ts";
import type { ReportResult } from "../message/reports.ts";
import type { LicenseVerdict } from "../message/licenses.ts";
import type { SealedEvent, Wake } from "../message/wake.ts";
import type { Surroundings } from "../manners/ports.ts";
import type { HandlerHost, LocalPorts, ProcessHost, ProcessIdentity, Probes } from "../process/ports.ts";
import type { Artifact, PublisherPin } from "../release/manifest.ts";
import type { Platform } from "../release/platform.ts";
import type { SocketPlace } from "../release/sockets.ts";
import type { VerifiedSource } from "../slot/attempt.ts";
import type { BytesBy } from "../slot/journal-event.ts";
import type { DataTrees } from "../slot/data-trees.ts";
import type { ZipReader } from "../slot/unpack.ts";

/** One verified, consistent state of the repository; everything of one check comes from the same. */
export interface Releases {
  /** SHA-256 of the TUF timestamp file that was trusted; null if unknown. */
  readonly timestampSha256: string | null;
  /** When the TUF timestamp that is trusted now expires; null if unknown. */
  readonly freshUntil: Instant | null;
  /** What the refresh noticed that people should know and that did not stop it. */
  readonly notices: readonly Notice[];
  /** A small target, verified against TUF metadata. Errors: `repository/*`, `mirror/*`. */
  document(target: string, limit: number): Promise<Uint8Array>;
  /**
   * The list of authorities (trust/bundle.json), verified and signed by the top-level targets role; null when there is none or when it is
   * the one with this SHA-256. Errors: `identity/bad-bundle`, `repository/*`, `mirror/*`.
   */
  trustBundle(knownSha256: string | null): Promise<Uint8Array | null>;
  /** A small target of the top-level targets role; null when it lists none of this name. Errors: `repository/*`, `mirror/*`. */
  topDocument?(target: string, limit: number): Promise<Uint8Array | null>;
  /**
   * Brings an artifact into the file `part`, going on with what it holds, and returns when the file has the length and digests
   * that both TUF and `artifact` name. What has other digests is removed; if part of it was there before, a crash may have damaged that,
   * and the whole is fetched once more before anybody is accused. Errors: `repository/*`, `mirror/*`, `disk/*`.
   */
  download(artifact: Artifact, part: string, options: DownloadOptions): Promise<Downloaded>;
  /** Null if no role lists the target. Errors: `repository/*`, `mirror/*`. */
  listed(target: string): Promise<Listed | null>;
}
/** `about` and `code` together name the condition: it is told once, until it is over. Only an `alarm` is reported to the server. */
export type Notice = {
  readonly code: string;
  readonly about: string;
  readonly message: string;
  readonly alarm: boolean;
};
export type DownloadOptions = {
  readonly signal: AbortSignal;
  readonly progress: (bytes: number) => void;
};
/** `bytes` counts what came over the wire for this call. */
export type Downloaded = {
  readonly bytes: number;
  readonly source: VerifiedSource;
  /** Where the artifact's bytes came from; absent when all of them are of `source`. */
  readonly by?: BytesBy;
  /** Code of what went wrong on the way that was tried first. */
  readonly detour?: string;
};

/** A small or large target that signed metadata lists. */
export type Listed = {
  readonly length: number;
  readonly sha256: string;
  /** As `Releases.download` does with an artifact. */
  fetch(part: string, options: DownloadOptions): Promise<Downloaded>;
};

export interface Repository {
  /** Refreshes trusted metadata as of `now`, which is read once per check (TUF 5.1). Errors: `repository/*`, `mirror/*`, `disk/*`. */
  refresh(now: Instant, signal: AbortSignal): Promise<Releases>;
}

export interface UpdateServer {
  /** Errors: `server/*`, `mirror/*`: an error whose `facts.retryAfter` is a number of seconds is obeyed. */
  checkIn(request: CheckInRequest, signal: AbortSignal): Promise<CheckInAnswer>;
  /** One result per envelope, in order. */
  sendReports(envelopes: readonly Uint8Array[], signal: AbortSignal): Promise<readonly ReportResult[]>;
  /** Absent where no server can be asked. */
  readonly licensing?: LicensingServer;
  /**
   * Wake-ups after the number; ends when the connection does. `sealedAfter`: messages that are sealed for this device may come instead, and
   * checks up to this number of theirs were made; null for a device that opens none.
   */
  wakeUps(after: number, signal: AbortSignal, sealedAfter?: number | null): AsyncIterable<Wake | SealedEvent>;
  /** The next check-in renews the certificate first, as if half of its life were over. */
  renewSoon?(): void;
}

/** What is said about licenses outside of a check-in. Errors: as those of `checkIn`. */
export interface LicensingServer {
  challenge(signal: AbortSignal): Promise<string>;
  activate(
    request: Uint8Array,
    signal: AbortSignal,
  ): Promise<{ readonly license: Uint8Array; readonly lease: Uint8Array }>;
  report(
    documents: { readonly receipts: readonly Uint8Array[]; readonly usage: readonly Uint8Array[] },
    signal: AbortSignal,
  ): Promise<{ readonly receipts: readonly LicenseVerdict[]; readonly usage: readonly LicenseVerdict[] }>;
}

/** The part of a check that is about licenses. Nothing of it ever throws: updates, reports and roll back go on whatever is wrong here. */
export interface Licensing {
  /** Takes over who may issue and lease, and what was revoked, from a refreshed state of the repository. */
  follow(releases: Pick<Releases, "document">): Promise<void>;
  /** What to ask for in this check-in; undefined for nothing. */
  ask(): Promise<unknown>;
  /** What the server answered to that. */
  take(answer: unknown): Promise<void>;
  /** What the server has and does not offer, because no license here covers it. */
  noteUpdates(refused: unknown): Promise<void>;
  /** What there is to say outside of the check-in: activations that wait, receipts, usage. */
  settle(server: LicensingServer, signal: AbortSignal): Promise<void>;
}

/** The last assignment that was believed, as it was signed. */
export interface KeptAssignment {
  /** Null when there is none. Errors: `disk/*`. */
  load(): Promise<Uint8Array | null>;
  /** Errors: `disk/*`. */
  save(envelope: Uint8Array): Promise<void>;
}

/** By which authorities the server is known; connections made after a change follow it. */
export interface ServerTrust {
  /** SHA-256 of the list that holds; null before the first, and while the kept one is damaged. */
  readonly bundleSha256: string | null;
  /** Errors: `identity/bad-bundle`, `identity/old-bundle`, `schema/invalid`, `json/*`, `disk/*`; what held before holds on. */
  take(bundle: Uint8Array): Promise<void>;
}

/** A file that came for a release, and what the release says about it; where its signature says it too, both must agree. */
export type PublishedFile = {
  readonly path: string;
  /** The name it was published under. */
  readonly name: string;
  readonly product: string;
  readonly version: string;
  /** Where it is to run; null for any. */
  readonly platform: { readonly os: string; readonly arch: string } | null;
  /** An archive's detached signature; null for a file that carries its own. */
  readonly signature: Uint8Array | null;
};

/**
 * The artifact's own signature, independent of TUF. Resolves when the file is signed by the pinned publisher below one of `roots` (PEM, a TUF
 * target); throws otherwise. When a manifest pins a publisher and no verifier is wired, the agent refuses.
 */
export type VerifyPublisher = (
  file: PublishedFile,
  pin: PublisherPin,
  roots: Uint8Array,
  now: Instant,
) => Promise<void>;

/** Who this device is. */
export type DeviceIdentity = {
  readonly device: string;
  /** Ed25519; signs reports. */
  readonly key: DsseSigner;
};

/** Sockets that this agent holds for its components: bound by it, and listened on by the programs that inherit them. */
export interface HeldSockets {
  /**
   * The descriptor of the socket at this place, bound if it is not held yet. `owner` is the folder of the component. `from` is a program that may hold it since an earlier agent:
   * then it is taken from there, so that no connection which waits is lost. Errors: `process/port-taken`, `process/no-socket`.
   */
  hold(owner: string, place: SocketPlace, from: ProcessIdentity | null): Promise<number>;
  /** Closes what is held for the component at other places. */
  keepOnly(owner: string, places: readonly SocketPlace[]): Promise<void>;
}

/** Bounds and reads what components write. */
export interface Logs {
  /** Puts the log of the last run aside, so that the next one begins with nothing. */
  rotate(path: string): Promise<void>;
  bound(path: string, limit: number): Promise<void>;
  /** `from`: what stands before it is of another program. */
  head(path: string, limit: number, from: number): Promise<string>;
  tail(path: string, limit: number, from: number): Promise<string>;
  size(path: string): Promise<number>;
}

/** One structured line: what happened, with facts. */
export type LogLine = {
  readonly level: "debug" | "info" | "warn" | "error";
  readonly event: string;
  readonly [fact: string]: unknown;
};

export type World = {
  /** What the agent says of itself, and the features that it acts upon. */
  readonly program: Program;
  readonly disk: Disk;
  /** The same disk for work that may take its time: verifying and unpacking. */
  readonly background: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly processes: ProcessHost;
  readonly probes: Probes;
  readonly handlers: HandlerHost;
  readonly localPorts: LocalPorts;
  readonly surroundings: Surroundings;
  readonly sockets: HeldSockets;
  readonly logs: Logs;
  readonly zip: ZipReader;
  readonly trees: DataTrees;
  readonly platform: Platform;
  readonly verifyPublisher: VerifyPublisher | null;
  /** Verifies the agent's own image; null where it does not run as one signed file. Called before anything else at every start. */
  readonly selfCheck: (() => Promise<void>) | null;
  /** The agent's own environment; components get a few names of it, see run-spec.ts. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** True while this machine has little to do; where nobody can tell, it has. */
  readonly isIdle?: () => Promise<boolean>;
  /** Bytes of the disk that the agent's folder is on; null where nobody can tell. */
  readonly space?: (folder: string) => Promise<{ readonly free: number; readonly total: number } | null>;
  readonly log: (line: LogLine) => void;
  /** Tests stop real processes at named points through this; nothing else may use it. */
  readonly atPoint: (name: string) => Promise<void>;
};
