// Sample documents for the tests of this room.

import type { ReleaseManifest } from "./manifest.ts";
import type { ChannelPointer } from "./channel.ts";

export function sampleManifest(changes: Partial<ReleaseManifest> = {}): ReleaseManifest {
  const version = changes.version ?? "1.1.0";
  return {
    product: "shop",
    version,
    channel: "stable",
    published: "2026-11-21T04:00:00Z",
    security: false,
    artifacts: [
      {
        os: "linux",
        arch: "x64",
        target: `products/shop/${version}/shop-linux-x64.tar.gz`,
        format: "tar.gz",
        length: 1000,
        sha256: "a".repeat(64),
        sha512: "b".repeat(128),
        pieceSize: 1 << 20,
        merkleRoot: "c".repeat(64),
        unpackedLength: 3000,
        deltas: [],
      },
    ],
    entryPoint: { command: ["bin/shop", "--serve"], env: { MODE: "production" } },
    health: {
      kind: "http",
      path: "/health",
      port: { env: "PORT" },
      startSeconds: 10,
      intervalSeconds: 5,
      timeoutSeconds: 5,
      successes: 2,
      failures: 3,
      probationSeconds: 60,
    },
    dependencies: [],
    ...changes,
  };
}

export function samplePointer(changes: Partial<ChannelPointer> = {}): ChannelPointer {
  const version = changes.version ?? "1.1.0";
  return {
    product: "shop",
    channel: "stable",
    version,
    target: `products/shop/${version}/release.json`,
    sha256: "d".repeat(64),
    updated: "2026-11-21T04:00:00Z",
    steps: [],
    recalled: [],
    ...changes,
  };
}
