// The agent's view of a TUF repository: one refresh, then documents and artifacts of exactly that state.

import { AgentError } from "../../agent/errors.ts";
import type { Downloaded, DownloadOptions, Notice, Releases, Repository } from "../../agent/ports.ts";
import { DAY, formatInstant, HOUR } from "../../core/instant.ts";
import { RunningDigests, sameDigest, sha256Hex } from "../../core/digest.ts";
import type { Disk } from "../../core/disk.ts";
import { exists, statOrNull } from "../../core/disk.ts";
import { readFile } from "../../slot/read-file.ts";
import type { Artifact } from "../../release/manifest.ts";
import type { RefreshResult, Repository as TufClient, TargetInfo } from "../../repository/client/client.ts";
import { readBundleTarget } from "../source/bundle-target.ts";
import type { MetadataStore } from "../../repository/client/store.ts";

const TIMESTAMP_LIMIT = 64 * 1024;

/** How reports call a place that bytes came from, by its name as a source. */
export type SourceWord = (name: string | null) => Exclude<Downloaded["source"], "none">;

/** `wordFor` says how reports call the place that the last of the bytes came from; null is what an earlier run had fetched. */
export function agentRepository(
  client: TufClient,
  store: MetadataStore,
  disk: Disk,
  wordFor: SourceWord = () => "origin",
): Repository {
  return {
    refresh: async (_now, signal): Promise<Releases> => {
      const refreshed = await client.refresh(signal);
      const timestamp = await store.load("timestamp", TIMESTAMP_LIMIT);
      return {
        timestampSha256: timestamp === null ? null : sha256Hex(timestamp),
        freshUntil: refreshed.expiries.timestamp,
        notices: noticesOf(refreshed),
        document: (target, limit) => client.readTarget(target, limit, signal),
        topDocument: async (target, limit) => {
          const info = await client.target(target, signal);
          return info === null || info.role !== "targets" ? null : client.readTarget(target, limit, signal);
        },
        trustBundle: (known) => readBundleTarget(client, known, signal),
        download: async (artifact, part, options) => {
          const info = await agreed(client, artifact, options);
          return download({ client, disk, wordFor }, info, artifact.sha256, part, options);
        },
        listed: async (target) => {
          const info = await client.target(target, signal);
          const sha256 = info?.hashes.sha256;
          if (info === null || sha256 === undefined) return null;
          return {
            length: info.length,
            sha256,
            fetch: (part, options) => download({ client, disk, wordFor }, info, sha256, part, options),
          };
        },
      };
    },
  };
}

/** Nearer to its end than this, a role was not renewed when it should have been: people sign from 60 days before, the server daily. */
const SOON = { root: 14 * DAY, targets: 14 * DAY, snapshot: 2 * DAY, timestamp: 6 * HOUR } as const;

/** What of a refresh that succeeded should be known to people. */
export function noticesOf(refreshed: RefreshResult): readonly Notice[] {
  const { clockSetBack, forgotten, start, expiries, mirrors, timestamp } = refreshed;
  const notices: Notice[] = [];
  if (forgotten !== null) {
    const message = `The remembered time ${formatInstant(forgotten.time)} was dropped: the repository's ${forgotten.role} ${forgotten.version}, which is signed and newer, ends before it (${formatInstant(forgotten.expires)}). A clock was ahead when it was remembered.`;
    notices.push({ code: "repository/time-forgotten", about: "clock", message, alarm: true });
  }
  if (clockSetBack) {
    const message = `The clock of this device is behind ${formatInstant(start)}, at which it refreshed before: that time was used instead, so that expired metadata stays expired. If the clock is right now: upkeep agent forget-time.`;
    notices.push({ code: "repository/clock-set-back", about: "clock", message, alarm: true });
  }
  for (const role of ["root", "targets", "snapshot", "timestamp"] as const) {
    if (expiries[role] - start >= SOON[role]) continue;
    const message = `The repository's ${role} expires at ${formatInstant(expiries[role])} and was not renewed: updates stop then, what runs keeps running.`;
    notices.push({ code: "repository/expires-soon", about: role, message, alarm: true });
  }
  for (const mirror of mirrors) {
    // TUF 5.4.3.1: a timestamp that is older than the one we have. It was signed once, so the mirror is behind, from the second check on too.
    const behind =
      mirror.failures.length > 0 && mirror.failures.every((code) => code === "repository/rollback");
    const failure = mirror.failures[0] ?? (mirror.timestamp === null ? "mirror/not-found" : undefined);
    if (behind) {
      const message = `The mirror ${mirror.name} is behind: its timestamp is older than the one this device has.`;
      notices.push({ code: "repository/mirror-stale", about: mirror.name, message, alarm: false });
    } else if (failure !== undefined) {
      const message = `The mirror ${mirror.name} failed (${failure}); another was good.`;
      notices.push({ code: "repository/mirror-failed", about: mirror.name, message, alarm: true });
    } else if (mirror.timestamp! < timestamp) {
      // After every publication some mirror is behind for a while: shown, and not worth a report.
      const message = `The mirror ${mirror.name} is behind: it has timestamp ${mirror.timestamp}, another has ${timestamp}.`;
      notices.push({ code: "repository/mirror-stale", about: mirror.name, message, alarm: false });
    }
  }
  return notices;
}

/** Errors: `agent/wrong-release`. */
async function agreed(client: TufClient, artifact: Artifact, options: DownloadOptions): Promise<TargetInfo> {
  const info = await client.target(artifact.target, options.signal);
  // Two signed statements about the same bytes: they must agree before anything is fetched.
  const agrees =
    info !== null &&
    info.length === artifact.length &&
    (info.hashes.sha256 === undefined || sameDigest(info.hashes.sha256, artifact.sha256)) &&
    (info.hashes.sha512 === undefined || sameDigest(info.hashes.sha512, artifact.sha512));
  if (info === null || !agrees) {
    throw new AgentError(
      "agent/wrong-release",
      info === null
        ? `The release names ${artifact.target}, which the repository does not list.`
        : `The release and the repository describe ${artifact.target} differently: either you are under attack, or the repository was assembled wrongly.`,
      { target: artifact.target },
    );
  }
  return info;
}

type Room = { readonly client: TufClient; readonly disk: Disk; readonly wordFor: SourceWord };

async function download(
  { client, disk, wordFor }: Room,
  info: TargetInfo,
  sha256: string,
  part: string,
  options: DownloadOptions,
): Promise<Downloaded> {
  // A finished download of an earlier run counts if it is still whole; a crash may have damaged it.
  if (await exists(disk, part)) {
    if (await isWhole(disk, part, info.length, sha256)) return { bytes: 0, source: "none" };
    await disk.removeFile(part);
  }
  const before = (await statOrNull(disk, `${part}.part`))?.size ?? 0;
  let fresh = 0;
  let last: string | null = null;
  await client.fetchTarget(info, part, {
    disk,
    signal: options.signal,
    onProgress: ({ received, source }) => {
      if (source !== null) fresh = Math.max(fresh, received - Math.min(before, received));
      last = source ?? last;
      options.progress(received);
    },
  });
  return { bytes: fresh, source: wordFor(last) };
}

async function isWhole(disk: Disk, path: string, length: number, sha256: string): Promise<boolean> {
  const running = new RunningDigests();
  for await (const part of readFile(disk, path)) running.update(part);
  return running.length === length && sameDigest(running.digests().sha256, sha256);
}
