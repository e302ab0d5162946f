// The compliance suite over every source, and what is special about the web: TLS, ranges, redirects, lies.

import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, it } from "node:test";
import { collect, toUtf8 } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import { below, readAll } from "../../mirror/source.ts";
import { withSpeedFloor } from "../../mirror/speed.ts";
import { startFaultServer, type Fault } from "../../testing/fault-server.ts";
import { memorySource } from "../../testing/memory-source.ts";
import { testSource } from "../../testing/source-suite.ts";
import { MirrorError } from "../../mirror/errors.ts";

import { tarEnd, tarHeader } from "../../release/tar-writer.ts";
import { broughtSource, writeBundle } from "./bundle.ts";
import { systemClock } from "../system/clock.ts";
import { diskSource } from "./disk.ts";
import { systemDisk } from "../system/disk.ts";
import { httpSource, type TlsOptions } from "./http.ts";

describe("a memory source", () => {
  testSource(async (files) => ({ source: memorySource(files), close: async () => {} }));
});

describe("a memory source that cannot start in the middle", () => {
  testSource(async (files) => ({
    source: memorySource(files, { ranges: false }),
    close: async () => {},
    ranges: false,
  }));
});

describe("the folder of another source", () => {
  testSource(async (files) => ({
    source: below(
      memorySource([...files].map(([path, bytes]) => [`in/here/${path}`, bytes] as const)),
      "in/here",
    ),
    close: async () => {},
  }));
});

describe("a bundle as a source", () => {
  const folder = mkdtempSync(join(tmpdir(), "upkeep-bundle-"));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const bundleOf = async (name: string, files: ReadonlyMap<string, Uint8Array>): Promise<string> => {
    const list = [...files].map(([path, bytes], i) => {
      const from = join(folder, `${name}-${i}`);
      writeFileSync(from, bytes);
      return { path: decodeURIComponent(path), size: bytes.length, from };
    });
    const to = join(folder, `${name}.bundle`);
    await writeBundle(systemDisk, to, list, () => {});
    return to;
  };
  const files = new Map([
    ["metadata/timestamp.json", toUtf8("{}")],
    [`targets/${"a".repeat(64)}.${"long".repeat(20)}`, new Uint8Array(700).fill(7)],
  ]);
  const refused = async (path: string): Promise<void> => {
    await assert.rejects(broughtSource(systemDisk, path), (error: unknown) => {
      assert.ok(error instanceof MirrorError, String(error));
      assert.equal(error.code, "mirror/wrong-content");
      return true;
    });
  };

  testSource(async (given) => ({
    source: await broughtSource(systemDisk, await bundleOf("suite", given)),
    close: async () => {},
  }));

  it("is refused whichever byte of it is changed", async () => {
    const good = readFileSync(await bundleOf("good", files));
    const bad = join(folder, "changed");
    for (let at = 0; at < good.length; at += at < 700 ? 1 : 37) {
      const bytes = Uint8Array.from(good);
      bytes[at]! ^= 1;
      writeFileSync(bad, bytes);
      await refused(bad);
    }
  });

  it("is refused when its end is missing or something follows it", async () => {
    const good = readFileSync(await bundleOf("good", files));
    const bad = join(folder, "cut");
    for (const length of [0, 1, 511, 512, 1024, good.length - 512, good.length - 1]) {
      writeFileSync(bad, good.subarray(0, length));
      await refused(bad);
    }
    writeFileSync(bad, Buffer.concat([good, Buffer.alloc(512)]));
    await refused(bad);
  });

  it("is refused when another tar program made it, and when a name comes twice", async () => {
    const bad = join(folder, "foreign");
    const link = tarHeader({ kind: "link", path: "metadata/timestamp.json", target: "/etc/passwd" });
    writeFileSync(bad, Buffer.concat([link, tarEnd()]));
    await refused(bad);
    const [path, bytes] = [...files][0]!;
    const from = join(folder, "twice");
    writeFileSync(from, bytes);
    const twice = { path, size: bytes.length, from };
    await writeBundle(systemDisk, bad, [twice, twice], () => {});
    await refused(bad);
  });

  it("is the same bytes for the same files", async () => {
    assert.deepEqual(readFileSync(await bundleOf("one", files)), readFileSync(await bundleOf("two", files)));
  });

  it("a folder without metadata is no copy of a repository", async () => {
    await assert.rejects(broughtSource(systemDisk, folder), { code: "mirror/not-found" });
    await assert.rejects(broughtSource(systemDisk, join(folder, "nowhere")), { code: "mirror/not-found" });
  });
});

describe("a disk source", () => {
  testSource(async (files) => {
    const folder = mkdtempSync(join(tmpdir(), "upkeep-source-"));
    for (const [path, bytes] of files) {
      const name = join(folder, decodeURIComponent(path));
      mkdirSync(dirname(name), { recursive: true });
      writeFileSync(name, bytes);
    }
    return { source: diskSource(systemDisk, folder), close: async () => rmSync(folder, { recursive: true }) };
  });
});

describe("an HTTP source", () => {
  testSource(async (files) => {
    const server = await startFaultServer(files);
    const source = httpSource(server.url, { plainHttp: "allowed" });
    return {
      source,
      close: async () => {
        source.close();
        await server.close();
      },
    };
  });
});

describe("an HTTP source below a speed floor", () => {
  testSource(async (files) => {
    const server = await startFaultServer(files);
    const source = httpSource(server.url, { plainHttp: "allowed" });
    return {
      source: withSpeedFloor(source, systemClock, { idle: 10_000, window: 10_000, minimum: 1 }),
      close: async () => {
        source.close();
        await server.close();
      },
    };
  });
});

describe("a web server that lies", () => {
  const content = new Uint8Array(100_000).fill(7);
  const meet = async (
    fault: Fault,
    use: (
      source: ReturnType<typeof httpSource>,
      server: Awaited<ReturnType<typeof startFaultServer>>,
    ) => Promise<void>,
  ): Promise<void> => {
    const server = await startFaultServer([["file", content]]);
    server.faults.set("file", fault);
    const source = httpSource(server.url, { plainHttp: "allowed" });
    try {
      await use(source, server);
    } finally {
      source.close();
      await server.close();
    }
  };
  const rows: readonly (readonly [string, Fault, string])[] = [
    [
      "a compressed body that was not asked for (gzip bomb)",
      { kind: "gzip-bomb", megabytes: 8 },
      "mirror/bad-answer",
    ],
    [
      "a redirect to another host",
      { kind: "redirect", to: "http://example.invalid/file" },
      "mirror/bad-answer",
    ],
    ["a redirect to another protocol", { kind: "redirect", to: "file:///etc/passwd" }, "mirror/bad-answer"],
    ["a redirect loop", { kind: "redirect", to: "/file" }, "mirror/bad-answer"],
    ["a cut in the middle", { kind: "cut", bytes: 1000 }, "mirror/unreachable"],
    ["a length larger than the body", { kind: "wrong-length", by: 10 }, "mirror/unreachable"],
    ["403 for a missing file", { kind: "status", status: 403 }, "mirror/not-found"],
    ["404", { kind: "status", status: 404 }, "mirror/not-found"],
    ["401", { kind: "status", status: 401 }, "mirror/refused"],
    ["503", { kind: "status", status: 503 }, "mirror/unreachable"],
    ["a range that was not asked for", { kind: "wrong-range" }, "mirror/bad-answer"],
    ["endless data", { kind: "endless" }, "mirror/too-long"],
  ];
  for (const [name, fault, code] of rows) {
    it(`is refused with ${code} for ${name}`, () =>
      meet(fault, (source) => assert.rejects(readAll(source, "file", 200_000), { code })));
  }

  it("sending endless data is cut off at the limit and its socket closed", () =>
    meet({ kind: "endless" }, async (source, server) => {
      await assert.rejects(readAll(source, "file", 200_000), { code: "mirror/too-long" });
      for (let i = 0; i < 100 && server.sockets.size > 0; i++) await systemClock.sleep(10);
      assert.equal(server.sockets.size, 0);
      // What the system's buffers took, not more.
      assert.ok(server.sent() < 20_000_000, String(server.sent()));
    }));

  it("answering another range than asked is refused", () =>
    meet({ kind: "wrong-range" }, (source) =>
      assert.rejects(source.open("file", { offset: 500, limit: 200_000 }), { code: "mirror/bad-answer" }),
    ));

  it("answering 200 to a range is understood as the whole file", () =>
    meet({ kind: "no-ranges" }, async (source) => {
      const opened = await source.open("file", { offset: 500, limit: 200_000 });
      assert.equal(opened.offset, 0);
      assert.equal((await collect(opened.body, 200_000)).length, content.length);
    }));

  it("following a redirect within its own origin is fine", () =>
    meet({ kind: "redirect", to: "/other" }, async (source, server) => {
      server.files.set("other", toUtf8("here"));
      assert.deepEqual(await readAll(source, "file", 100), toUtf8("here"));
    }));

  it("stalling, dripping or silent is abandoned as slow, and its socket closed", async () => {
    const floor = { idle: 150, window: 300, minimum: 5_000 };
    for (const fault of [
      { kind: "silence" },
      { kind: "stall", bytes: 1000 },
      { kind: "drip", bytes: 1, every: 20 },
    ] as const) {
      await meet(fault, async (source, server) => {
        const guarded = withSpeedFloor(source, systemClock, floor);
        await assert.rejects(readAll(guarded, "file", 200_000), { code: "mirror/slow" });
        for (let i = 0; i < 100 && server.sockets.size > 0; i++) await systemClock.sleep(10);
        assert.equal(server.sockets.size, 0);
      });
    }
  });
});

describe("the address of an HTTP source", () => {
  it("must be https, unless plain HTTP is allowed by name", () => {
    assert.throws(() => httpSource("http://example.invalid/"), { code: "mirror/bad-path" });
    assert.throws(() => httpSource("ftp://example.invalid/", { plainHttp: "allowed" }), {
      code: "mirror/bad-path",
    });
    assert.equal(httpSource("https://example.invalid/repo").name, "https://example.invalid/repo/");
  });

  it("holds no credentials and no query", () => {
    assert.throws(() => httpSource("https://user:secret@example.invalid/"), { code: "mirror/bad-path" });
    assert.throws(() => httpSource("https://example.invalid/?token=1"), { code: "mirror/bad-path" });
  });
});

describe("TLS of an HTTP source", () => {
  const pem = (name: string): string =>
    readFileSync(new URL(`../../../test/vectors/tls/${name}`, import.meta.url), "utf8");
  const ca = pem("ca.pem");
  const pinOf = (name: string): string =>
    sha256Hex(new X509Certificate(pem(name)).publicKey.export({ type: "spki", format: "der" }));
  const meet = async (
    server: { name: string; ca?: string },
    tls: TlsOptions,
    expected: string | null,
  ): Promise<void> => {
    const running = await startFaultServer([["file", toUtf8("hello")]], {
      cert: pem(`${server.name}.pem`),
      key: pem(`${server.name}.key`),
      ...(server.ca === undefined ? {} : { ca: server.ca }),
    });
    const source = httpSource(running.url, { tls });
    try {
      if (expected === null) assert.deepEqual(await readAll(source, "file", 10), toUtf8("hello"));
      else await assert.rejects(readAll(source, "file", 10), { code: expected });
      assert.equal(running.requests.length, expected === null ? 1 : 0);
    } finally {
      source.close();
      await running.close();
    }
  };

  it("trusts the authority it was given, and no other", async () => {
    await meet({ name: "server" }, { ca }, null);
    await meet({ name: "server" }, {}, "mirror/untrusted");
  });

  it("refuses a certificate for another host, unless that host was meant", async () => {
    await meet({ name: "other-host" }, { ca }, "mirror/untrusted");
    await meet({ name: "other-host" }, { ca, servername: "other.test" }, null);
    await meet({ name: "server" }, { ca, servername: "other.test" }, "mirror/untrusted");
  });

  it("demands a pinned key in the chain, be it the server's or the authority's", async () => {
    await meet({ name: "server" }, { ca, pins: [pinOf("server.pem")] }, null);
    await meet({ name: "server" }, { ca, pins: ["0".repeat(64), pinOf("ca.pem")] }, null);
    await meet({ name: "server" }, { ca, pins: [pinOf("client.pem")] }, "mirror/untrusted");
  });

  it("shows its own certificate to a server that wants one", async () => {
    await meet({ name: "server", ca }, { ca }, "mirror/untrusted");
    await meet({ name: "server", ca }, { ca, cert: pem("client.pem"), key: pem("client.key") }, null);
  });
});
