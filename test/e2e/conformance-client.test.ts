// The executable that the public conformance suite drives: its protocol, its exit codes, its requests.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { toUtf8 } from "../../src/core/bytes.ts";
import { startFaultServer, type FaultServer } from "../../src/testing/fault-server.ts";
import { RepositorySimulator } from "../../src/testing/repository-simulator.ts";

const client = new URL("../conformance/client", import.meta.url).pathname;

function run(program: string, args: readonly string[]): Promise<{ code: number | null; stderr: string }> {
  return new Promise((resolve) => {
    const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"], timeout: 60_000 });
    let stderr = "";
    child.stderr.on("data", (bytes: Buffer) => (stderr += bytes.toString()));
    child.once("close", (code) => resolve({ code, stderr }));
  });
}

describe("the conformance client", () => {
  let repo: RepositorySimulator;
  let server: FaultServer;
  let folder: string;
  const metadata = (): string => join(folder, "metadata");
  const init = (): Promise<{ code: number | null; stderr: string }> => {
    rmSync(metadata(), { recursive: true, force: true });
    mkdirSync(metadata());
    return run(client, ["--metadata-dir", metadata(), "init", join(folder, "root.json")]);
  };
  const refresh = (program = client): Promise<{ code: number | null; stderr: string }> =>
    run(program, ["--metadata-url", `${server.url}/metadata/`, "--metadata-dir", metadata(), "refresh"]);
  const download = (...names: string[]): Promise<{ code: number | null; stderr: string }> =>
    run(client, [
      "--metadata-url",
      `${server.url}/metadata/`,
      "--metadata-dir",
      metadata(),
      ...names.flatMap((name) => ["--target-name", name]),
      "--target-dir",
      join(folder, "targets"),
      "--target-base-url",
      `${server.url}/targets/`,
      "download",
    ]);

  before(async () => {
    repo = await RepositorySimulator.create({ now: Date.now() });
    repo.addTarget("file.txt", toUtf8("hello"));
    repo.addTarget("folder/other.txt", toUtf8("there"));
    await repo.publish();
    server = await startFaultServer(repo.source.files);
    folder = mkdtempSync(join(tmpdir(), "upkeep-conformance-"));
    mkdirSync(join(folder, "targets"));
    writeFileSync(join(folder, "root.json"), repo.rootBytes(1));
  });
  after(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  });

  it("takes the trusted root without asking anybody, and refuses one that is not signed", async () => {
    server.requests.length = 0;
    assert.equal((await init()).code, 0);
    assert.deepEqual(readdirSync(metadata()), ["root.json"]);
    assert.deepEqual(server.requests, []);
    writeFileSync(
      join(folder, "bad.json"),
      Buffer.from(repo.rootBytes(1)).toString().replace('"version":1', '"version":2'),
    );
    assert.equal(
      (await run(client, ["--metadata-dir", metadata(), "init", join(folder, "bad.json")])).code,
      1,
    );
  });

  it("refreshes with each file asked for once, stores what it got byte for byte, also when called by a link", async () => {
    await init();
    server.requests.length = 0;
    const link = join(folder, "client-link");
    symlinkSync(client, link);
    const { code, stderr } = await refresh(link);
    assert.equal(code, 0, stderr);
    assert.deepEqual(server.requests, [
      "GET metadata/2.root.json",
      "GET metadata/timestamp.json",
      "GET metadata/2.snapshot.json",
      "GET metadata/2.targets.json",
    ]);
    const stored = readdirSync(metadata()).filter((name) => name.endsWith(".json"));
    assert.deepEqual(stored, ["root.json", "snapshot.json", "targets.json", "timestamp.json"]);
    assert.deepEqual(
      new Uint8Array(readFileSync(join(metadata(), "snapshot.json"))),
      server.files.get("metadata/2.snapshot.json"),
    );
  });

  it("downloads several targets by one client, and none of them twice", async () => {
    await init();
    assert.equal((await download("file.txt", "folder/other.txt")).code, 0);
    assert.equal(readFileSync(join(folder, "targets", "folder", "other.txt"), "utf8"), "there");
    server.requests.length = 0;
    assert.equal((await download("file.txt", "file.txt")).code, 0);
    assert.deepEqual(
      server.requests.filter((request) => request.includes("targets/")),
      [],
    );
  });

  it("answers 1 and a code for what fails, without a second attempt", async () => {
    await init();
    assert.equal((await download("missing.txt")).code, 1);
    server.requests.length = 0;
    server.faults.set("metadata/timestamp.json", { kind: "status", status: 500 });
    const { code, stderr } = await refresh();
    server.faults.clear();
    assert.equal(code, 1);
    assert.match(stderr, /^mirror\/unreachable: /);
    assert.deepEqual(server.requests, ["GET metadata/2.root.json", "GET metadata/timestamp.json"]);
    assert.equal((await run(client, ["--metadata-dir", metadata(), "explode"])).code, 1);
    assert.equal((await run(client, [])).code, 1);
  });
});
