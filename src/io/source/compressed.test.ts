// Targets that travel compressed: unpacked within the signed length, and asked for plainly when the compressed form is not right.

import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { zstdCompressSync } from "node:zlib";
import { sha256Hex } from "../../core/digest.ts";
import { downloadFile } from "../../mirror/download.ts";
import { NO_RETRY } from "../../mirror/fetch.ts";
import { MemoryDisk } from "../../testing/memory-disk.ts";
import { systemClock } from "../system/clock.ts";
import { systemRandom } from "../system/random.ts";
import { staticFiles } from "../http/static-files.ts";
import type { Call } from "../http/server.ts";
import { httpSource } from "./http.ts";

const FILE = Buffer.from("a line that comes again and again\n".repeat(20_000));
const FORM = zstdCompressSync(FILE);
const servers: Server[] = [];
after(() => servers.forEach((server) => server.close()));

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** A mirror that answers so; returns what it was asked, and how the download of the file ended. */
async function downloadFrom(answer: Answer, length = FILE.length) {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const { range = "-", "accept-encoding": coding } = request.headers;
    asked.push(`${String(coding)} ${range}`);
    answer(request, response);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const source = httpSource(`http://127.0.0.1:${port}/`, { plainHttp: "allowed" });
  const disk = new MemoryDisk();
  await disk.makeDirectory("/to");
  const sources = [source];
  const digests = [["sha256", sha256Hex(FILE)]] as const;
  const tools = { clock: systemClock, random: systemRandom, retry: NO_RETRY };
  try {
    await downloadFile({ sources, from: "file", to: "/to/file", length, digests, disk, tools });
    const got = Buffer.from(await disk.read("/to/file", FILE.length));
    return { asked, code: null, right: got.equals(FILE) };
  } catch (error) {
    return { asked, code: (error as { code?: string }).code ?? String(error), right: false };
  } finally {
    source.close();
  }
}

const plain = (response: ServerResponse): void => void response.writeHead(200).end(FILE);
const zstd = (response: ServerResponse, body: Uint8Array): void =>
  void response.writeHead(200, { "content-encoding": "zstd", "content-length": body.length }).end(body);
const takesZstd = (request: IncomingMessage): boolean =>
  String(request.headers["accept-encoding"]).startsWith("zstd");

describe("a download from a mirror", () => {
  it("with compressed forms is unpacked on its way", async () => {
    const { asked, right } = await downloadFrom((_, response) => zstd(response, FORM));
    assert.ok(right);
    assert.deepEqual(asked, ["zstd, identity;q=0.5 -"]);
  });

  it("without them works as before", async () => {
    assert.ok((await downloadFrom((_, response) => plain(response))).right);
  });

  for (const [what, body] of [
    ["damaged", FORM.map((byte, i) => (i === 30 ? byte ^ 0xff : byte))],
    ["of other content", zstdCompressSync(Buffer.from(FILE).fill(65, 0, 9))],
    ["a decompression bomb", zstdCompressSync(Buffer.alloc(1 << 26))],
    ["cut by its publisher", FORM.subarray(0, FORM.length - 5)],
    ["no zstd at all", FILE],
  ] as const) {
    it(`whose compressed form is ${what} is asked for the file itself before it is blamed`, async () => {
      const { asked, right } = await downloadFrom((request, response) =>
        takesZstd(request) ? zstd(response, body) : plain(response),
      );
      assert.ok(right);
      assert.deepEqual(asked, ["zstd, identity;q=0.5 -", "identity -"]);
    });
  }

  it("that compresses what was asked for plainly is refused", async () => {
    const bad = zstdCompressSync(Buffer.from(FILE).fill(66, 0, 9));
    const { code } = await downloadFrom((_, response) => zstd(response, bad));
    assert.equal(code, "mirror/bad-answer");
  });
});

describe("the static plane", () => {
  const root = mkdtempSync(join(tmpdir(), "upkeep-forms-"));
  after(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, "targets"));
  const name = `${sha256Hex(FILE)}.app`;
  writeFileSync(join(root, "targets", name), FILE);
  writeFileSync(join(root, "targets", `${name}.zst`), FORM);
  writeFileSync(join(root, "targets", "alone"), FILE);
  const files = staticFiles(root);
  const head = async (path: string, headers: Record<string, string>) => {
    const call = { method: "HEAD", headers, notes: {} } as unknown as Call;
    const answer = await files.answer(call, path);
    assert.ok("headers" in answer);
    return answer.headers as Record<string, string>;
  };

  it("sends the compressed form to those who take it, under a tag of its own", async () => {
    const got = await head(`targets/${name}`, { "accept-encoding": "gzip, zstd;q=0.9" });
    assert.equal(got["content-encoding"], "zstd");
    assert.equal(got["content-length"], String(FORM.length));
    assert.equal(got["vary"], "accept-encoding");
    assert.notEqual(got["etag"], (await head(`targets/${name}`, {}))["etag"]);
  });

  for (const [what, path, headers] of [
    ["does not take it", `targets/${name}`, { "accept-encoding": "gzip" }],
    ["refuses it", `targets/${name}`, { "accept-encoding": "zstd;q=0" }],
    ["wants a part", `targets/${name}`, { "accept-encoding": "zstd", range: "bytes=5-" }],
    ["asks for a file without one", "targets/alone", { "accept-encoding": "zstd" }],
  ] as const) {
    it(`sends the file itself to a client that ${what}`, async () => {
      const got = await head(path, headers);
      assert.equal(got["content-encoding"], undefined);
    });
  }
});
