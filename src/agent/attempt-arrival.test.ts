// The steps before anything that runs is touched, one by one: what each of them refuses, and what it leaves alone.
//
// A change to attempt-arrival.ts that no test here notices, and why: passing over a release without a pin for a second time in
// checkPublisher, which is there for the compiler; the line above it has answered that already.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { toUtf8 } from "../core/bytes.ts";
import { digestsOf, sha256Hex } from "../core/digest.ts";
import { exists, makeDirectories, writeAtomic } from "../core/disk.ts";
import type { Artifact, ReleaseManifest } from "../release/manifest.ts";
import { PUBLISHER_ROOTS_TARGET } from "../release/target-names.ts";
import type { Attempt } from "../slot/attempt.ts";
import { makeComponent } from "../slot/install.ts";
import { layoutOf, slotPath } from "../slot/layout.ts";
import { EagerClock } from "../testing/agent-world.ts";
import { FleetOfOne } from "../testing/fleet-of-one.ts";
import { MemoryDisk } from "../testing/memory-disk.ts";
import {
  checkBytes,
  checkPublisher,
  fetchArtifact,
  isStaged,
  marginFor,
  reserveSpace,
  stageArtifact,
  type Arrival,
} from "./attempt-arrival.ts";
import type { Component } from "./component.ts";
import type { World } from "./ports.ts";

const DOWNLOADS = "/agent/download";
/** The least that is left alone; a small artifact asks for no more. */
const MARGIN = 256 * 1024;

const publisher = new FleetOfOne(new EagerClock(), () => new MemoryDisk());
const published = await publisher.publish("shop", "1.1.0", "well");
const [sample] = published.artifacts;
/** Holds one program, bin/service. */
const archive = publisher.targets.get(sample!.target)!;

type Options = {
  readonly bytes?: Uint8Array;
  readonly artifact?: Partial<Artifact>;
  readonly manifest?: Partial<ReleaseManifest>;
  readonly staged?: boolean;
  readonly diskFloor?: number;
  readonly verifyPublisher?: World["verifyPublisher"];
  readonly documents?: Readonly<Record<string, Uint8Array>>;
};

/** One artifact of a release, as it lies on a device's disk. */
async function arrived(options: Options = {}) {
  const { bytes = archive, staged = false, diskFloor = 0, documents = {} } = options;
  const disk = new MemoryDisk();
  const layout = layoutOf("/agent/components/shop");
  await makeComponent(disk, layout);
  await makeDirectories(disk, DOWNLOADS);
  const artifact: Artifact = {
    ...sample!,
    length: bytes.length,
    ...digestsOf(bytes),
    unpackedLength: 1000,
    ...options.artifact,
  };
  const { entryPoint: _, health: __, ...data } = published;
  const manifest: ReleaseManifest = { ...data, artifacts: [artifact], ...options.manifest };
  const path = `${DOWNLOADS}/${artifact.sha256}.artifact`;
  await writeAtomic(disk, path, bytes);
  const asked: string[] = [];
  const world = {
    disk,
    background: disk,
    clock: { now: () => 0 },
    platform: { os: "linux", arch: "x64", libc: "glibc", osVersion: "6.1", hardware: null },
    zip: {
      entries: () => {
        throw new Error("no zip in these tests");
      },
    },
    verifyPublisher: options.verifyPublisher ?? null,
  };
  const settings = { diskFloor };
  const component = {
    product: "shop",
    world,
    layout,
    settings,
    isWhole: async () => staged,
    state: { committed: null },
  };
  const id = { version: "1.1.0", sha256: artifact.sha256 };
  const arrival: Arrival = {
    component: component as unknown as Component,
    attempt: { begin: { to: id, manifestSha256: "c".repeat(64) } } as Attempt,
    plan: {
      manifest,
      artifact,
      releases: {
        timestampSha256: null,
        freshUntil: null,
        notices: [],
        document: async (name, limit) => {
          asked.push(`${name} ${limit}`);
          const found = documents[name];
          if (found === undefined) throw new Error(`${name} is not listed`);
          return found;
        },
        trustBundle: async () => null,
        listed: async () => null,
        download: async (_artifact, part, { progress }) => {
          asked.push(`download ${part}`);
          progress(7);
          return { bytes: 7, source: "mirror" };
        },
      },
    },
    downloads: DOWNLOADS,
    signal: new AbortController().signal,
    tell: (state, count) => void asked.push(`${state} ${count}`),
  };
  return { arrival, disk, layout, path, artifact, id, asked };
}

describe("room on the disk", () => {
  const missing = async (free: (length: number) => number, prepare?: (a: Arrived) => Promise<unknown>) => {
    const made = await arrived();
    await made.disk.removeFile(made.path);
    await prepare?.(made);
    made.disk.free = async () => free(made.artifact.length);
    return reserveSpace(made.arrival);
  };
  type Arrived = Awaited<ReturnType<typeof arrived>>;
  const needed = (length: number) => length + 1000 + MARGIN;

  it("has to be there to the byte: for the artifact, what it unpacks to, and a margin", async () => {
    await missing(needed);
    await assert.rejects(
      missing((length) => needed(length) - 1),
      { code: "agent/no-space" },
    );
  });

  it("that the owner wants to stay free is never undercut", async () => {
    const made = await arrived({ diskFloor: 10 * MARGIN });
    await made.disk.removeFile(made.path);
    const enough = made.artifact.length + 1000 + 10 * MARGIN;
    made.disk.free = async () => enough - 1;
    await assert.rejects(reserveSpace(made.arrival), { code: "agent/no-space" });
    made.disk.free = async () => enough;
    await reserveSpace(made.arrival);
  });

  it("that is left alone is an eighth of what is written, and neither less than 256 KiB nor more than 16 MiB", () => {
    const [kib, mib] = [1024, 1024 * 1024];
    assert.deepEqual([0, 400, 2 * mib, 2 * mib + 8, 8 * mib, 128 * mib, 4096 * mib].map(marginFor), [
      256 * kib,
      256 * kib,
      256 * kib,
      256 * kib + 1,
      mib,
      16 * mib,
      16 * mib,
    ]);
  });

  it("is not asked for what arrived already, in part or whole", async () => {
    await missing(
      (length) => needed(length) - 10,
      ({ disk, path }) => writeAtomic(disk, `${path}.part`, new Uint8Array(10)),
    );
    await missing(
      () => 1000 + MARGIN,
      ({ disk, path }) => writeAtomic(disk, path, archive),
    );
    // More than the whole gives nothing back.
    const tooLong = ({ disk, path }: Arrived) => writeAtomic(disk, path, new Uint8Array(9000));
    await assert.rejects(
      missing(() => 999 + MARGIN, tooLong),
      { code: "agent/no-space" },
    );
  });

  it("is not asked for when the slot is there already", async () => {
    const { arrival, disk } = await arrived({ staged: true });
    disk.free = async () => 0;
    await reserveSpace(arrival);
  });
});

describe("the bytes of an artifact", () => {
  it("are fetched into the folder of downloads, unless the slot is there already", async () => {
    const { arrival, path, asked } = await arrived();
    assert.deepEqual(await fetchArtifact(arrival), { bytes: 7, source: "mirror" });
    assert.deepEqual(asked, [`download ${path}`, "downloading 7"]);
    const done = await arrived({ staged: true });
    assert.deepEqual(await fetchArtifact(done.arrival), { bytes: 0, source: "none" });
    assert.deepEqual(done.asked, []);
  });

  it("pass when length and both digests are those of the release", async () => {
    const { arrival, disk, path } = await arrived();
    await checkBytes(arrival);
    assert.ok(await exists(disk, path));
  });

  for (const [what, artifact] of [
    ["length", { length: archive.length + 1 }],
    ["SHA-256", { sha256: "0".repeat(64) }],
    ["SHA-512", { sha512: "0".repeat(128) }],
  ] as const)
    it(`with another ${what} than the release names are refused and thrown away (arbitrary software)`, async () => {
      const { arrival, disk, path } = await arrived({ artifact });
      await assert.rejects(checkBytes(arrival), { code: "agent/wrong-bytes" });
      assert.ok(!(await exists(disk, path)));
    });

  it("are not read again when the slot is there already", async () => {
    const { arrival } = await arrived({ staged: true, artifact: { sha256: "0".repeat(64) } });
    await checkBytes(arrival);
  });
});

describe("a pinned publisher", () => {
  const publisher = { subject: "CN=Shop" };
  const roots = toUtf8("roots");
  const documents = { [PUBLISHER_ROOTS_TARGET]: roots };

  it("is asked of the artifact itself, below the roots that TUF lists", async () => {
    const calls: unknown[] = [];
    const { arrival, path } = await arrived({
      manifest: { publisher },
      documents,
      verifyPublisher: async (file, pin, below, now) => void calls.push([file, pin, below, now]),
    });
    await checkPublisher(arrival);
    const file = {
      path,
      name: "shop.tar.gz",
      product: "shop",
      version: "1.1.0",
      platform: arrival.component.world.platform,
      signature: null,
    };
    assert.deepEqual(calls, [[file, publisher, roots, 0]]);
  });

  it("that nobody can check does not hold (fail closed)", async () => {
    const { arrival } = await arrived({ manifest: { publisher }, documents });
    await assert.rejects(checkPublisher(arrival), { code: "agent/no-verifier" });
  });

  it("does not hold without roots, nor when its check fails", async () => {
    let calls = 0;
    const verifyPublisher = async () => {
      calls++;
      throw new Error("signed by somebody else");
    };
    const bare = await arrived({ manifest: { publisher }, verifyPublisher });
    await assert.rejects(checkPublisher(bare.arrival), /is not listed/);
    assert.equal(calls, 0);
    const forged = await arrived({ manifest: { publisher }, verifyPublisher, documents });
    await assert.rejects(checkPublisher(forged.arrival), /signed by somebody else/);
  });

  it("is asked for only where the release pins one, and until the slot is there", async () => {
    const verifyPublisher = async () => {
      throw new Error("nothing to check");
    };
    await checkPublisher((await arrived({ verifyPublisher })).arrival);
    await checkPublisher((await arrived({ verifyPublisher, manifest: { publisher }, staged: true })).arrival);
  });

  const signature = toUtf8("signature");
  const target = "products/shop/1.1.0/shop.sig";
  const beside = { target, length: signature.length, sha256: sha256Hex(signature) };
  const withSignature = (listed: typeof beside) => {
    const seen: unknown[] = [];
    return {
      seen,
      options: {
        manifest: { publisher },
        artifact: { signature: listed },
        documents: { ...documents, [target]: signature },
        verifyPublisher: async (file: { readonly signature: unknown }) => void seen.push(file.signature),
      },
    };
  };

  it("may have signed beside the archive", async () => {
    const { seen, options } = withSignature(beside);
    const { arrival, asked } = await arrived(options);
    await checkPublisher(arrival);
    assert.deepEqual(seen, [signature]);
    assert.ok(asked.includes(`${target} ${signature.length}`));
  });

  for (const [what, listed] of [
    ["digest", { ...beside, sha256: "0".repeat(64) }],
    ["length", { ...beside, length: signature.length + 1 }],
  ] as const)
    it(`beside the archive with another ${what} than the release names is refused`, async () => {
      const { seen, options } = withSignature(listed);
      const { arrival } = await arrived(options);
      await assert.rejects(checkPublisher(arrival), { code: "agent/wrong-bytes" });
      assert.deepEqual(seen, []);
    });
});

describe("a slot", () => {
  const { health } = published;
  const started = { entryPoint: { command: ["bin/service"] as [string] }, health: health! };

  it("is made of the artifact, with the program that is started", async () => {
    const { arrival, disk, layout, id } = await arrived({ manifest: started });
    const record = await stageArtifact(arrival);
    assert.equal(record, sha256Hex(await disk.read(`${slotPath(layout, id)}/.upkeep-slot.json`, 100_000)));
    assert.equal((await disk.stat(`${slotPath(layout, id)}/bin/service`)).mode, 0o555);
    const again = await arrived();
    const { plan: _, ...rest } = again.arrival;
    const other = { ...rest, plan: null, component: { ...arrival.component, isWhole: async () => true } };
    assert.equal(await stageArtifact(other as unknown as Arrival), record);
  });

  it("without the program that is started, or that asks how it is, is refused", async () => {
    const missing = { ...started, entryPoint: { command: ["bin/gone"] as [string] } };
    await assert.rejects(stageArtifact((await arrived({ manifest: missing })).arrival), {
      code: "slot/entry-missing",
    });
    const probe = { health: { ...health!, kind: "command", command: ["bin/gone"] } };
    const probed = await arrived({ manifest: probe as unknown as Partial<ReleaseManifest> });
    await assert.rejects(stageArtifact(probed.arrival), { code: "slot/entry-missing" });
  });

  for (const [what, manifest, mode] of [
    ["that is started", { ...started, entryPoint: { command: ["tool"] } }, 0o555],
    ["that is asked how it is", { health: { ...health!, kind: "command", command: ["tool"] } }, 0o555],
    ["of data", {}, 0o444],
  ] as const)
    it(`of a single file ${what} has the mode ${mode.toString(8)}`, async () => {
      const { arrival, disk, layout, id } = await arrived({
        artifact: { format: "file", installAs: "tool", unpackedLength: archive.length },
        manifest: manifest as unknown as Partial<ReleaseManifest>,
      });
      await stageArtifact(arrival);
      assert.equal((await disk.stat(`${slotPath(layout, id)}/tool`)).mode, mode);
    });

  it("is there when it is whole, and an attempt that lost its release makes none", async () => {
    const { arrival } = await arrived();
    assert.equal(await isStaged(arrival.component, arrival.attempt), false);
    const lost = { ...arrival, plan: null };
    for (const step of [reserveSpace, fetchArtifact, checkBytes, checkPublisher, stageArtifact])
      await assert.rejects(step(lost), { code: "agent/interrupted" });
  });
});
