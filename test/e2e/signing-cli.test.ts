// `sign --service` as a build script calls it: the same words, lines and exit codes as signing with a key of one's own.

import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { tinyElf } from "../../src/testing/tiny-elf.ts";
import { tinyPe } from "../../src/testing/tiny-pe.ts";
import { tinyCab, tinyCat, tinyMsi, SCRIPTS } from "../../src/testing/tiny-windows-files.ts";
import { linesOf, SigningWorld, type Ran } from "./_signing.ts";

let world: SigningWorld;
const IDENTITY = ["--product", "app", "--release-version", "1.4.0", "--release-number", "17"];

before(async () => {
  world = await SigningWorld.start();
});
after(() => world?.close());

const readPending = (name: string): string =>
  (JSON.parse(readFileSync(join(world.folder, name), "utf8")) as { resume: { request: string } }).resume
    .request;
const there = (name: string): boolean => existsSync(join(world.folder, name));
const said = (ran: Ran): string => ran.stdout + ran.stderr;
const statuses = (lines: readonly { readonly [member: string]: unknown }[]): unknown[] =>
  lines.map((line) => line["status"]);

describe("sign --service", () => {
  it("signs files of every format in one call, in order, with a line that says what a local one says", async () => {
    const files: { readonly [name: string]: Uint8Array } = {
      "app.exe": tinyPe(),
      "app.elf": tinyElf(),
      "script.ps1": SCRIPTS["utf-8-bom"]!,
      "files.cab": tinyCab("a.txt", new Uint8Array(500)),
      "setup.msi": await tinyMsi(),
      "driver.cat": tinyCat(),
    };
    const names = Object.keys(files);
    for (const [name, bytes] of Object.entries(files)) world.put(name, bytes);
    const ran = await world.sign(...names, ...IDENTITY);
    assert.equal(ran.code, 0, ran.stdout + ran.stderr);
    assert.deepEqual(
      ran.lines.map((line) => [line["file"], line["format"], line["status"], line["ok"]]),
      names.map((name, i) => [name, ["pe", "elf", "powershell", "cab", "msi", "cat"][i], "signed", true]),
    );
    await world.ok(["verify", "--root", "root.pem", ...names]);
    for (const [name, bytes] of Object.entries(files)) world.put(name, bytes);
    const local = await world.upkeep(
      ["--json", "sign", "--cert", "chain.pem", "--key", "key.pem", ...IDENTITY, ...names],
      { UPKEEP_SERVICE: "" },
    );
    assert.equal(local.code, 0, local.stdout + local.stderr);
    for (const [i, line] of linesOf(local.stdout).entries())
      for (const member of [
        "file",
        "ok",
        "status",
        "format",
        "hash",
        "digest",
        "subject",
        "output",
        "warnings",
      ])
        assert.deepEqual(ran.lines[i]![member], line[member], `${names[i]!} ${member}`);
    const again = await world.sign("--skip-signed", ...names, ...IDENTITY);
    assert.equal(again.code, 0, again.stdout);
    assert.deepEqual(
      statuses(again.lines),
      names.map(() => "skipped"),
    );
    const refused = await world.sign(...names, ...IDENTITY);
    assert.equal(refused.code, 1);
    assert.deepEqual(
      refused.lines.map((line) => (line["error"] as { code: string }).code),
      names.map(() => "artifact/already-signed"),
    );
    assert.equal((await world.sign("--replace", ...names, ...IDENTITY)).code, 0);
    await world.ok(["verify", "--root", "root.pem", ...names]);
  });

  it("adds its signature to those that are there, in programs and beside files", async () => {
    await world.admin("key", "new", "second", "--scheme", "ecdsa-sha2-nistp256");
    await world.admin("cert", "self", "second", "--subject", "Second Publisher");
    const operations = ["authenticode", "elf", "cms"].flatMap((each) => ["--operation", each]);
    await world.admin("policy", "set", "second", "--user", "build", ...operations);
    await sleep(2500);
    world.put("two.exe", tinyPe({ seed: 7 }));
    world.put("two.elf", tinyElf());
    world.put("two.txt", "text\n");
    for (const file of ["two.exe", "two.elf", "two.txt"]) {
      const options = file === "two.elf" ? IDENTITY : file === "two.txt" ? ["--detached"] : [];
      assert.equal((await world.sign(file, ...options)).code, 0, file);
      const added = await world.sign(file, ...options, "--cert", "second", "--append");
      assert.equal(added.code, 0, added.stdout + added.stderr);
      const report = linesOf(
        (await world.upkeep(["--json", "verify", "--root", "root.pem", file])).stdout,
      )[0]!;
      assert.equal((report["signatures"] as unknown[]).length, 2, JSON.stringify(report));
    }
    const cms = ["-inform", "DER", "-in", "two.txt.sig", "-content", "two.txt", "-out", "/dev/null"];
    const said = await world.run("openssl", "cms", "-verify", "-binary", "-noverify", ...cms);
    assert.match(said, /CMS Verification successful/);
    const twice = await world.sign("two.txt", "--detached", "--append");
    assert.match(twice.stdout, /artifact\/already-signed/);
  });

  it("writes elsewhere with --output, and leaves the file alone", async () => {
    const bytes = tinyPe({ seed: 8 });
    world.put("in.exe", bytes);
    const ran = await world.sign("in.exe", "--output", "out.exe");
    assert.equal(ran.code, 0, ran.stdout + ran.stderr);
    assert.deepEqual(world.read("in.exe"), bytes);
    await world.ok(["verify", "--root", "root.pem", "out.exe"]);
    await world.ok(["verify", "--receipt", "out.exe.receipt", "out.exe"]);
    world.put("in.txt", "text\n");
    assert.equal((await world.sign("in.txt", "--detached", "--output", "elsewhere.sig")).code, 0);
    await world.ok(["verify", "--root", "root.pem", "--signature", "elsewhere.sig", "in.txt"]);
    assert.equal((await world.sign("in.exe", "in.txt", "--output", "x")).code, 2);
  });

  it("takes patterns and lists, several at a time, and says by file what failed", async () => {
    mkdirSync(join(world.folder, "out"));
    for (let i = 0; i < 6; i++) world.put(`out/p${i}.exe`, tinyPe({ seed: 20 + i }));
    world.put("out/broken.exe", Uint8Array.of(0x4d, 0x5a, 0, 0));
    world.put("out/listed.txt", "text\n");
    world.put("list", "# more\nout/listed.txt\nout/missing.exe\n");
    const ran = await world.sign("out/p*.exe", "out/broken.exe", "@list", "--jobs", "3");
    assert.equal(ran.code, 1, ran.stdout + ran.stderr);
    assert.deepEqual(
      ran.lines.map((line) => [line["file"], line["ok"]]),
      [
        ...[0, 1, 2, 3, 4, 5].map((i) => [`out/p${i}.exe`, true]),
        ["out/broken.exe", false],
        ["out/listed.txt", true],
        ["out/missing.exe", false],
      ],
    );
    assert.ok(there("out/listed.txt.sig") && there("out/p5.exe.receipt"));
    assert.equal((await world.sign("nothing/*.exe")).code, 2);
    assert.deepEqual(
      readdirSync(join(world.folder, "out")).filter((name) => name.includes("upkeep-part")),
      [],
    );
  });

  it("knows with --dry-run the key and what the rules would say, if the call says how to sign in", async () => {
    const before = await world.ok(["--json", "--data", "signer", "audit", "list", "--kind", "intent"]);
    world.put("asked.exe", tinyPe({ seed: 19 }));
    const { code, lines, stdout } = await world.sign("--dry-run", "asked.exe");
    assert.equal(code, 0, stdout);
    const { key, preview } = lines[0] as {
      key: { [name: string]: unknown };
      preview: { [name: string]: unknown };
    };
    assert.equal(key["certificate"], "release");
    assert.equal(key["scheme"], "rsa-pkcs1v15-sha256");
    assert.match(String(key["subject"]), /CN=/);
    assert.match(String(key["expires"]), /^20\d\d-/);
    assert.deepEqual([preview["outcome"], preview["rule"]], ["allow", "default"]);
    const words = ["sign", "--service", "service.json", "--identity", "build.pem", "--cert", "release"];
    const text = await world.ok([...words, "--dry-run", "asked.exe"]);
    assert.match(text, /key: release, rsa-pkcs1v15-sha256, .*CN=.*, until 20/);
    assert.match(text, /rules: signer-1 would sign it by the rule default/);
    const operations = ["authenticode", "elf", "cms"].flatMap((each) => ["--operation", each]);
    const rule = ["policy", "set", "release", "--user", "build", ...operations];
    await world.admin(...rule, "--file-name", "setup-*.exe");
    try {
      await new Promise((resolve) => setTimeout(resolve, 2500));
      const refused = await world.upkeep([...words, "--dry-run", "asked.exe"]);
      assert.equal(refused.code, 3, refused.stdout + refused.stderr);
      assert.match(refused.stdout, /signer-1 would refuse it \(default\/name: the file name fits no pattern/);
    } finally {
      await world.admin(...rule);
      await new Promise((resolve) => setTimeout(resolve, 2500));
    }
    assert.equal(await world.ok(["--json", "--data", "signer", "audit", "list", "--kind", "intent"]), before);
  });

  it("prints digest and request with --dry-run, without network, key or change", async () => {
    const description = JSON.parse(Buffer.from(world.read("service.json")).toString()) as {
      gateways: object[];
    };
    const dead = { ...description, gateways: [{ ...description.gateways[0]!, address: "127.0.0.1:9" }] };
    world.put("dead.json", JSON.stringify(dead));
    const bytes = tinyPe({ seed: 9 });
    world.put("dry.exe", bytes);
    const words = ["sign", "--service", "dead.json", "--cert", "release", "--dry-run", "dry.exe"];
    const dry = await world.upkeep(["--json", ...words]);
    assert.equal(dry.code, 0, dry.stdout + dry.stderr);
    const line = linesOf(dry.stdout)[0]!;
    assert.deepEqual([line["status"], line["format"], line["signed"]], ["dry-run", "pe", false]);
    assert.deepEqual(world.read("dry.exe"), bytes);
    const text = await world.ok(words);
    assert.deepEqual(JSON.parse(text.split("\n")[1]!), line["request"]);
    const real = await world.sign("dry.exe");
    assert.equal(real.lines[0]!["digest"], line["digest"]);
    const kept = await world.ok([
      "--json",
      "--data",
      "signer",
      "audit",
      "list",
      "--kind",
      "intent",
      "--last",
      "1",
    ]);
    const { document } = (JSON.parse(kept) as { entries: { document: { inline: string } }[] }).entries[0]!;
    const envelope = JSON.parse(Buffer.from(document.inline, "base64").toString()) as { payload: string };
    const sent = JSON.parse(Buffer.from(envelope.payload, "base64").toString()) as {
      [name: string]: unknown;
    };
    const asked = line["request"] as { [name: string]: unknown };
    for (const [member, value] of Object.entries(asked)) assert.deepEqual(sent[member], value, member);
    const dying = ["sign", "--service", "dead.json", "--patience", "0", "--cert", "release", "dry.exe"];
    const unreachable = await world.upkeep(dying, { UPKEEP_IDENTITY: world.identity });
    assert.equal(unreachable.code, 5, unreachable.stderr);
  });

  it("refuses by name every word that has no meaning there, or only there", async () => {
    const rows: readonly (readonly string[])[] = [
      ["--key", "key.pem"],
      ["--key-name", "k"],
      ["--add-cert", "chain.pem"],
      ["--pkcs11-module", "m.so"],
      ["--pkcs11-token", "t"],
      ["--pkcs11-key", "k"],
      ["--pin-file", "p"],
      ["--password-in-argv", "p"],
      ["--password-file", "p"],
      ["--timestamp-url", "http://127.0.0.1/"],
      ["--timestamp-hash", "sha512"],
      ["--legacy-timestamp-url", "http://127.0.0.1/"],
      ["--kernel"],
      ["--allow-expired"],
      ["--timeout", "5"],
    ];
    world.put("same.exe", tinyPe());
    const refused = async (words: readonly string[], run: Promise<Ran>): Promise<void> => {
      const ran = await run;
      assert.equal(ran.code, 2, `${words.join(" ")}: ${ran.stdout}${ran.stderr}`);
      assert.ok(ran.stderr.includes(words[0]!), ran.stderr);
    };
    await Promise.all(rows.map((words) => refused(words, world.sign("same.exe", ...words))));
    const here = ["sign", "--cert", "chain.pem", "--key", "key.pem", "same.exe"];
    const foreign = [
      ["--timestamp"],
      ["--identity", "build.pem"],
      ["--user", "a"],
      ["--one-release"],
      ["--leave-pending"],
      ["--receipts", "x"],
      ["--request-id", "0".repeat(32)],
    ];
    const alone = { UPKEEP_SERVICE: "" };
    await Promise.all(foreign.map((words) => refused(words, world.upkeep([...here, ...words], alone))));
    for (const words of [
      ["--hash", "sha384", "--cert", "second"],
      ["--replace", "--append"],
      ["--product", "x"],
    ])
      assert.equal((await world.sign("same.exe", ...words)).code, 2, words.join(" "));
    assert.deepEqual(world.read("same.exe"), tinyPe());
  });

  it("names the file at fault, and tells again by what keys client, gateway and signer are known", async () => {
    const { spki } = JSON.parse(await world.ok(["--json", "signer", "identity", world.identity])) as {
      spki: string;
    };
    assert.match(spki, /^[0-9a-f]{64}$/);
    const service = JSON.parse(readFileSync(join(world.folder, "service.json"), "utf8")) as {
      gateways: { spki: string }[];
      signers: { spki: string; log: string }[];
    };
    const gateway = JSON.parse(await world.ok(["--json", "--data", "gateway", "gateway", "show"])) as {
      spki: string;
      signers: { readonly [name: string]: { spki: string } };
    };
    const checked = JSON.parse(await world.ok(["--json", "--data", "signer", "signer", "check"])) as {
      spki: string;
      log: string;
    };
    assert.equal(gateway.spki, service.gateways[0]!.spki);
    assert.equal(gateway.signers["signer-1"]!.spki, checked.spki);
    assert.deepEqual([checked.spki, checked.log], [service.signers[0]!.spki, service.signers[0]!.log]);
    world.put("torn.json", '{"version": 1,');
    world.put("no-key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    chmodSync(join(world.folder, "no-key.pem"), 0o600);
    const description = await world.upkeep(["sign", "x.exe", "--cert", "release", "--service", "torn.json"]);
    assert.equal(description.code, 2);
    assert.match(description.stderr, /signing\/bad-config: \S*torn\.json is not a description/);
    const key = await world.upkeep(["sign", "x.exe", "--cert", "release", "--identity", "no-key.pem"]);
    assert.equal(key.code, 2);
    assert.match(key.stderr, /cli\/no-secret: \S*no-key\.pem holds no private key/);
    assert.ok(!key.stderr.includes("AAAA"));
    const scheme = await world.upkeep(["--data", "signer", "signer", "key", "new", "k", "--scheme", "rsa"]);
    assert.equal(scheme.code, 2);
    assert.match(scheme.stderr, /ecdsa-sha2-nistp256/);
  });

  it("refuses what is not what its name says, unless a signature beside it is wanted on purpose", async () => {
    world.put("fake.exe", "only text\n");
    const refused = await world.sign("fake.exe");
    assert.equal(refused.code, 3, said(refused));
    assert.match(said(refused), /artifact\/malformed.*by its content it is none/);
    assert.ok(!there("fake.exe.sig"));
    const meant = await world.sign("--as", "detached", "fake.exe");
    assert.equal(meant.code, 0, said(meant));
    assert.ok(there("fake.exe.sig"));
    const local = await world.upkeep([
      "sign",
      "--cert",
      "chain.pem",
      "--key",
      "key.pem",
      "--replace",
      "fake.exe",
    ]);
    assert.equal(local.code, 3, said(local));
    assert.match(said(local), /--as detached/);
    const beside = [
      "sign",
      "--cert",
      "chain.pem",
      "--key",
      "key.pem",
      "--as",
      "detached",
      "--replace",
      "fake.exe",
    ];
    assert.equal((await world.upkeep(beside)).code, 0);
    const verified = await world.upkeep(["verify", "--root", "root.pem", "fake.exe"]);
    assert.equal(verified.code, 0, said(verified));
  });

  it("knows no password on the command line", async () => {
    for (const word of ["--password", "--password=secret", "--pass"])
      for (const command of [["sign"], ["service", "sign", "--cert", "release"]]) {
        const ran = await world.upkeep([...command, word, "secret", "--user", "alice", "same.exe"]);
        assert.equal(ran.code, 2, ran.stderr);
        assert.match(ran.stderr, /Unknown option/);
      }
  });

  it("is reached by a build that says signtool's words, with the service in its environment", async () => {
    const env = { UPKEEP_IDENTITY: world.identity };
    const signtool = (...words: string[]) => world.upkeep(["sign", ...words], env);
    world.put("tool.exe", tinyPe({ seed: 11 }));
    for (const name of ["release", "Example Publisher"]) {
      const ran = await signtool(
        "/fd",
        "SHA256",
        "/n",
        name,
        "/d",
        "My App",
        "/du",
        "https://a.example",
        "tool.exe",
      );
      assert.equal(ran.code, 0, ran.stdout + ran.stderr);
    }
    const shown = await world.ok(["verify", "--root", "root.pem", "tool.exe"]);
    assert.match(shown, /My App/);
    assert.equal((await signtool("/fd", "SHA256", "/n", "nobody", "tool.exe")).code, 3);
    const stamped = await signtool(
      "/fd",
      "SHA256",
      "/tr",
      "http://a/",
      "/td",
      "SHA256",
      "/n",
      "release",
      "--patience=0",
      "tool.exe",
    );
    // The wish for a stamp arrives: this service has no authority.
    assert.match(stamped.stdout + stamped.stderr, /timestamp/);
    assert.notEqual(stamped.code, 0);
    const other = await signtool(
      "/fd",
      "SHA256",
      "/tr",
      "http://a/",
      "/td",
      "SHA512",
      "/n",
      "release",
      "tool.exe",
    );
    assert.equal(other.code, 2);
  });

  it("leaves what waits for approval, and `sign wait` goes on with it", async () => {
    const own = join(world.folder, "alice.pem");
    const key = (await world.ok(["signer", "identity", own])).trim();
    await world.admin("user", "add", "alice", "--key", key, "--role", "approver");
    const rule = [
      "--operation",
      "authenticode",
      "--operation",
      "cms",
      "--approvals",
      "1",
      "--approver",
      "alice",
    ];
    await world.admin("policy", "set", "second", "--user", "build", ...rule);
    await sleep(2500);
    world.put("wait.exe", tinyPe({ seed: 12 }));
    world.put("wait.txt", "text\n");
    const asked = await world.sign(
      "wait.exe",
      "wait.txt",
      "--cert",
      "second",
      "--leave-pending",
      "--output",
      "x",
    );
    assert.equal(asked.code, 2);
    const left = await world.sign(
      "wait.exe",
      "wait.txt",
      "--cert",
      "second",
      "--leave-pending",
      "--one-release",
    );
    assert.equal(left.code, 4, left.stdout + left.stderr);
    assert.deepEqual(statuses(left.lines), ["pending", "pending"]);
    const pending = ["wait.exe.pending", "wait.txt.pending"];
    assert.ok(pending.every(there));
    const service = ["--service", world.service, "--identity", world.identity];
    const early = await world.upkeep(["--json", "sign", "wait", ...pending, "--timeout", "0", ...service]);
    assert.equal(early.code, 4, early.stdout + early.stderr);
    const mixed = await world.sign("wait.exe", "out/broken.exe", "--cert", "second", "--leave-pending");
    assert.equal(mixed.code, 1, mixed.stdout);
    const shown = await world.ok(["--json", "service", "pending", "--identity", own]);
    const { requests } = JSON.parse(shown) as { requests: { file: string; release?: { root: string } }[] };
    assert.equal(
      requests.filter(({ file }) => file === "wait.exe").length,
      1,
      "signing the same file again goes on with the request that waits",
    );
    const { root } = requests.find((request) => request.release !== undefined)!.release!;
    await world.ok(["service", "approve", root, "--identity", own]);
    const done = await world.upkeep(["--json", "sign", "wait", "wait.txt.pending", ...service]);
    assert.equal(done.code, 0, done.stdout + done.stderr);
    assert.ok(there("wait.txt.sig") && !there("wait.txt.pending"));
    // Nobody has to know of `wait`: the same command again is done as soon as it is approved.
    const again = await world.sign("wait.exe", "--cert", "second", "--leave-pending");
    assert.equal(again.code, 0, again.stdout + again.stderr);
    assert.ok(!there("wait.exe.pending"));
    // A file that was changed meanwhile is another request.
    world.put("wait.txt", "text\n");
    assert.equal((await world.sign("wait.txt", "--cert", "second", "--leave-pending", "--replace")).code, 4);
    const before = readPending("wait.txt.pending");
    world.put("wait.txt", "another text\n");
    assert.equal((await world.sign("wait.txt", "--cert", "second", "--leave-pending", "--replace")).code, 4);
    assert.notEqual(readPending("wait.txt.pending"), before);
    assert.equal((await world.upkeep(["sign", "wait", ...service])).code, 2);
    world.put("wait", tinyPe({ seed: 13 }));
    assert.equal((await world.sign("./wait")).code, 0);
    // The command that is printed is typed as it stands there, now and after it had to wait once more.
    world.put("it's waiting.exe", tinyPe({ seed: 14 }));
    const words = ["--cert", "second", "--leave-pending", ...service];
    const told = await world.upkeep(["sign", "it's waiting.exe", ...words]);
    assert.equal(told.code, 4, told.stdout + told.stderr);
    const typed = (text: string): string => /^ *(upkeep service wait .*)$/m.exec(text)![1]!;
    const type = (line: string): Promise<string> =>
      world.run(
        "sh",
        "-c",
        `upkeep() { '${process.execPath}' '${join(import.meta.dirname, "../../src/apps/cli/main.ts")}' "$@"; }; ${line}`,
      );
    const once = await type(`${typed(told.stdout)} --timeout 0`);
    assert.equal(typed(once), typed(told.stdout));
    const request = readPending("it's waiting.exe.pending");
    await world.ok(["service", "approve", request, "--identity", own]);
    assert.match(await type(typed(told.stdout)), /signed as/);
    assert.ok(!there("it's waiting.exe.pending"));
  });
});
