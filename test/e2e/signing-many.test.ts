// Two gateways and two signers as programs: killed for good, restarted, and asked for what waits.

import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { parseDescription } from "../../src/signing/wire/description.ts";
import { parseNoteKey } from "../../src/signing/audit/note.ts";
import { verifyReceipt } from "../../src/signing/audit/receipt.ts";
import { freePort, PASSPHRASE, Programs } from "./_programs.ts";

type Gateway = {
  readonly data: string;
  readonly spki: string;
  readonly ports: { readonly clients: number; readonly signers: number; readonly metrics: number };
  process: ChildProcess;
};
type Signer = { readonly data: string; readonly name: string; process: ChildProcess };
type Line = { readonly [name: string]: string };

const UNLOCK = { UPKEEP_UNLOCK: PASSPHRASE };
const JOBS = 4;
let folder: string;
let programs: Programs;
let identity: string;
let approver: string;
const gateways: Gateway[] = [];
const signers: Signer[] = [];

const runGateway = ({ data }: Pick<Gateway, "data">) => programs.start(["--data", data, "gateway", "run"]);
const runSigner = ({ data }: Pick<Signer, "data">) =>
  programs.start(["--data", data, "signer", "run"], UNLOCK);

async function makeGateway(data: string): Promise<Omit<Gateway, "process">> {
  const ports = { clients: await freePort(), signers: await freePort(), metrics: await freePort() };
  const at = (port: number): string => `127.0.0.1:${port}`;
  const init = ["gateway", "init", "--clients", at(ports.clients), "--signers", at(ports.signers)];
  const { spki } = JSON.parse(await programs.ok(["--json", "--data", data, ...init])) as { spki: string };
  const path = join(folder, data, "gateway/gateway.toml");
  const text = await readFile(path, "utf8");
  await writeFile(path, text.replace("[listen]\n", `[listen]\nmetrics = "${at(ports.metrics)}"\n`));
  return { data, spki, ports };
}

async function makeSigner(data: string, name: string, users: readonly (readonly [string, string, string])[]) {
  const to = gateways.flatMap(({ ports, spki }) => ["--gateway", `127.0.0.1:${ports.signers}=${spki}`]);
  const made = JSON.parse(
    await programs.ok(["--json", "--data", data, "signer", "init", "--name", name, ...to], UNLOCK),
  ) as { spki: string };
  for (const gateway of gateways)
    await programs.ok(["--data", gateway.data, "gateway", "add", `${name}=${made.spki}`]);
  const admin = (...args: string[]): Promise<string> =>
    programs.ok(["--data", data, "signer", ...args], UNLOCK);
  for (const [user, spki, role] of users) await admin("user", "add", user, "--key", spki, "--role", role);
  // Both hold the same key; each has a certificate of its own for it.
  await admin("key", "import", "release", "release.pem", "--scheme", "ecdsa-sha2-nistp256");
  await admin("cert", "self", "release", "--subject", "Acme Test");
  await admin("policy", "set", "release", "--user", "build", "--operation", "cms");
  await admin("cert", "add", "approved", "--key", "release");
  await admin(
    "policy",
    "set",
    "approved",
    "--user",
    "build",
    "--operation",
    "raw",
    "--approvals",
    "1",
    "--approver",
    "boss",
  );
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "upkeep-signing-many-"));
  identity = join(folder, "build.pem");
  approver = join(folder, "boss.pem");
  programs = new Programs(folder, { UPKEEP_SERVICE: join(folder, "service.json") });
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  await writeFile(join(folder, "release.pem"), String(privateKey.export({ type: "pkcs8", format: "pem" })));
  const users = [
    ["build", (await programs.ok(["signer", "identity", identity])).trim(), "requester"],
    ["boss", (await programs.ok(["signer", "identity", approver])).trim(), "approver"],
  ] as const;
  for (const data of ["gateway-a", "gateway-b"])
    gateways.push({ ...(await makeGateway(data)), process: undefined as never });
  const list = gateways.flatMap(({ ports, spki }) => ["--gateway", `127.0.0.1:${ports.clients}=${spki}`]);
  for (const name of ["signer-1", "signer-2"]) {
    await makeSigner(name, name, users);
    const more = name === "signer-1" ? [] : ["--add", "signer-1.json"];
    writeFileSync(
      join(folder, name === "signer-1" ? "signer-1.json" : "service.json"),
      await programs.ok(["--data", name, "signer", "describe", ...list, ...more]),
    );
    signers.push({ data: name, name, process: undefined as never });
  }
  for (const gateway of gateways) gateway.process = await runGateway(gateway);
  for (const signer of signers) signer.process = await runSigner(signer);
});

after(async () => {
  await programs?.stopAll();
  await rm(folder, { recursive: true, force: true });
});

const sign = (...args: string[]) =>
  programs.run(["--json", "service", "sign", ...args, "--identity", identity]);
const linesOf = (stdout: string): readonly Line[] =>
  stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
/** Results in a signer's log as they stand on disk; a line that is being written is not there yet. */
function resultsOf({ data }: Signer): readonly Line[] {
  const path = join(folder, data, "signer/audit/entries/000000000000.jsonl");
  if (!existsSync(path)) return [];
  return readFileSync(path, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Line)
    .filter((entry) => entry["kind"] === "result");
}
async function write(prefix: string, n: number): Promise<readonly string[]> {
  const names = Array.from({ length: n }, (_, i) => `${prefix}-${i}.bin`);
  for (const name of names) await writeFile(join(folder, name), name.repeat(10));
  await writeFile(join(folder, `${prefix}.list`), names.join("\n"));
  return names;
}
const statusOf = async ({ data }: Gateway) =>
  JSON.parse(await programs.ok(["--json", "--data", data, "gateway", "status"])) as {
    active: number;
    idleBySigner: { [name: string]: number };
  };
async function idleEverywhere(): Promise<void> {
  for (const gateway of gateways) {
    for (;;) {
      const { idleBySigner } = await statusOf(gateway);
      if (signers.every(({ name }) => (idleBySigner[name] ?? 0) > 0)) break;
      await sleep(100);
    }
  }
}
/** The signer that works on a batch: the one whose log grows past what it was. */
async function atWork(before: readonly number[], enough: number): Promise<Signer> {
  for (;;) {
    const found = signers.find((signer, i) => resultsOf(signer).length >= before[i]! + enough);
    if (found !== undefined) return found;
    await sleep(5);
  }
}
/** Every file has a signature, and a receipt of the log of one of the two signers. */
function checkReceipts(names: readonly string[]): void {
  const { signers: known } = parseDescription(readFileSync(join(folder, "service.json")));
  const keys = known.map(({ log }) => parseNoteKey(log));
  for (const name of names) {
    assert.ok(existsSync(join(folder, `${name}.sig`)), name);
    const receipt = readFileSync(join(folder, `${name}.receipt`));
    const valid = keys.filter((key) => {
      try {
        verifyReceipt(new Uint8Array(receipt), key);
        return true;
      } catch {
        return false;
      }
    });
    assert.equal(valid.length, 1, `the receipt of ${name}`);
  }
}
const verifyLogs = async (): Promise<void> => {
  for (const { data } of signers)
    assert.match(await programs.ok(["--data", data, "audit", "verify"]), /the log is whole/);
};

describe("two gateways and two signers, as programs", { timeout: 280_000 }, () => {
  it("sign 100 files, each once, though both gateways are restarted in turn and the signer at work is killed and comes back", async () => {
    const names = await write("turn", 100);
    const before = signers.map((signer) => resultsOf(signer).length);
    const work = sign("@turn.list", "--cert", "release", "--jobs", String(JOBS), "--patience", "60");
    const busy = await atWork(before, 10);
    await programs.stop(busy.process, "SIGKILL");
    for (const gateway of gateways) {
      await programs.stop(gateway.process, "SIGKILL");
      gateway.process = await runGateway(gateway);
    }
    busy.process = await runSigner(busy);
    const ran = await work;
    assert.equal(ran.code, 0, ran.stdout.slice(-2000) + ran.stderr);
    const results = signers.flatMap((signer, i) => resultsOf(signer).slice(before[i]));
    assert.equal(results.length, 100);
    assert.equal(new Set(results.map((entry) => entry["file"])).size, 100);
    checkReceipts(names);
  });

  it("sign 100 files though one gateway and one signer are killed in the middle for good; what was under way there is named", async () => {
    await idleEverywhere();
    const names = await write("many", 100);
    const before = signers.map((signer) => resultsOf(signer).length);
    const work = sign("@many.list", "--cert", "release", "--jobs", String(JOBS), "--patience", "12");
    const busy = await atWork(before, 10);
    await programs.stop(busy.process, "SIGKILL");
    await programs.stop(gateways[0]!.process, "SIGKILL");
    const other = signers.find((signer) => signer !== busy)!;
    const ran = await work;
    type Failed = {
      readonly file: string;
      readonly error: { readonly code: string; readonly message: string };
    };
    const failed = linesOf(ran.stdout).filter((line) => "error" in line) as unknown as readonly Failed[];
    // Only what was at the dead signer when it died has no outcome: no more than were under way.
    assert.ok(failed.length <= JOBS, ran.stdout.slice(-3000));
    assert.equal(ran.code, failed.length === 0 ? 0 : 1, ran.stdout.slice(-3000) + ran.stderr);
    for (const { error } of failed) {
      assert.equal(error.code, "signing/outcome-unknown");
      assert.match(error.message, new RegExp(`whether ${busy.name} signed the request [0-9a-f]{32}`));
    }
    const unsure = failed.map(({ file }) => file);
    if (unsure.length > 0) {
      const again = await sign(...unsure, "--cert", "release", "--patience", "12");
      assert.equal(again.code, 0, again.stdout + again.stderr);
      assert.ok(
        linesOf(again.stdout)
          .slice(0, -1)
          .every((line) => line["signer"] === other.name),
      );
    }
    checkReceipts(names);
    const results = signers.flatMap((signer, i) => resultsOf(signer).slice(before[i]));
    // No request has two results, and no file either, but for those that were signed anew because nobody could say.
    assert.equal(new Set(results.map((entry) => entry["request"])).size, results.length);
    const counts = new Map<string, number>();
    for (const entry of results) counts.set(entry["file"]!, (counts.get(entry["file"]!) ?? 0) + 1);
    assert.equal(counts.size, 100);
    for (const [file, n] of counts) {
      const excused = unsure.some((path) => basename(path) === file);
      assert.ok(n === 1 || (n === 2 && excused), `${file} was signed ${n} times`);
    }
    await verifyLogs();
    // A build that was not yet given to the dead signer does not notice.
    await writeFile(join(folder, "next.bin"), "next");
    assert.equal((await sign("next.bin", "--cert", "release")).code, 0);
    busy.process = await runSigner(busy);
    gateways[0]!.process = await runGateway(gateways[0]!);
    await idleEverywhere();
    // The signer that came back is asked what became of one of them; it has one signature of it, or makes the first.
    const line = failed[0];
    if (line !== undefined) {
      const id = /request ([0-9a-f]{32})/.exec(line.error.message)![1]!;
      const late = await sign(line.file, "--cert", "release", "--request-id", id, "--signer", busy.name);
      assert.equal(late.code, 0, late.stdout + late.stderr);
      assert.equal(resultsOf(busy).filter((entry) => entry["request"] === id).length, 1);
    }
  });

  it("show what waits at both, approve it where it waits, and name the signer that cannot be asked", async () => {
    await writeFile(join(folder, "word.txt"), "please");
    const wish = ["word.txt", "--cert", "approved", "--as", "raw", "--purpose", "test", "--leave-pending"];
    const requests: string[] = [];
    for (const { name } of signers) {
      const asked = await sign(...wish, "--signer", name);
      assert.equal(asked.code, 4, asked.stdout + asked.stderr);
      requests.push(linesOf(asked.stdout)[0]!["request"]!);
    }
    const boss = ["--identity", approver];
    type Shown = { requests: { request: string; signer: string }[]; silent: { signer: string }[] };
    const shown = JSON.parse(await programs.ok(["--json", "service", "pending", ...boss])) as Shown;
    assert.deepEqual(
      new Map(shown.requests.map(({ request, signer }) => [signer, request])),
      new Map(shown.requests.map(({ signer }) => [signer, requests[signer === "signer-1" ? 0 : 1]!])),
    );
    assert.equal(shown.requests.length, 2);
    const approved = JSON.parse(
      await programs.ok(["--json", "service", "approve", requests[1]!, ...boss]),
    ) as { signers: string[] };
    assert.deepEqual(approved.signers, ["signer-2"]);
    const done = await programs.run(["--json", "service", "wait", "word.txt", "--identity", identity]);
    assert.equal(done.code, 0, done.stdout + done.stderr);
    await programs.stop(signers[1]!.process);
    const fewer = await programs.run(["service", "pending", "--patience", "1", ...boss]);
    assert.equal(fewer.code, 0, fewer.stderr);
    assert.ok(fewer.stdout.includes(requests[0]!));
    assert.match(fewer.stderr, /signer-2 could not be asked/);
    const missing = await programs.run(["service", "approve", "f".repeat(32), "--patience", "1", ...boss]);
    assert.equal(missing.code, 5);
    assert.match(missing.stderr, /signer-2 could not/);
  });
});
