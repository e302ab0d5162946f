// The structured log: one line stays one line whatever a stranger is called, and no secret gets through.

import assert from "node:assert/strict";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, it } from "node:test";
import { relayLines } from "./child-output.ts";
import { systemClock } from "./clock.ts";
import { LogFile } from "./log-file.ts";
import { jsonLog } from "./log.ts";

const lines: string[] = [];
const say = jsonLog(systemClock, (line) => lines.push(line));
const settings = (file?: string, bytes = 64 * 1024, keep = 3) => ({
  ...(file === undefined ? {} : { "log-file": file }),
  "log-max-bytes": bytes,
  "log-keep": keep,
});
let folder: string;
beforeEach(() => {
  lines.length = 0;
  folder = mkdtempSync(join(tmpdir(), "upkeep-log-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("a line of the log", () => {
  it("stays one line for names with line breaks, terminal escapes and text that runs backwards", () => {
    const hostile =
      'eve\n{"level":"info"}\r\u0085\u2028\u2029\u001b[2J\u009b31m\u202etxt.exe\u0000\u007f\ufeff\ud800';
    say("warn", "session", { user: hostile, file: hostile });
    const [line] = lines;
    assert.equal(lines.length, 1);
    assert.equal(line!.split(/[\n\r\u0085\u2028\u2029]/).filter((part) => part !== "").length, 1);
    assert.doesNotMatch(line!.trimEnd(), /[\p{Cc}\p{Cs}\u200e\u200f\u202a-\u202e\u2066-\u2069]/u);
    const { user } = JSON.parse(line!) as { user: string };
    assert.equal(user, hostile);
  });

  it("keeps its time, level and event, whatever a fact is called", () => {
    say("error", "refused", { event: "accepted", level: "info", time: "never" });
    const { event, level, time } = JSON.parse(lines[0]!) as { [name: string]: string };
    assert.deepEqual([event, level, time === "never"], ["refused", "error", false]);
  });

  for (const name of [
    "password",
    "newPassword",
    "unlock-passphrase",
    "token",
    "pin",
    "PIN",
    "totp",
    "share",
    "private",
    "clientSecret",
    "credentials",
  ])
    it(`leaves out the value of a field named ${name}`, () => {
      say("info", "event", { [name]: "geheim-4711", nested: { [name]: ["geheim-4711"] } });
      assert.doesNotMatch(lines[0]!, /geheim-4711/);
      assert.match(lines[0]!, /\[left out\]/);
    });

  it("leaves out what looks like a secret in any field, and a one-time code in `code`", () => {
    const secrets = {
      pem: "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIGeheim\n-----END PRIVATE KEY-----",
      share: `upkeep-share-0123abcd-2-1-${"ab".repeat(32)}-deadbeef`,
      enrollment: "upkeep1.id.c2VjcmV0.aa.bb",
      jwt: "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl",
      uri: "otpauth://totp/signer:bob?secret=JBSWY3DPEHPK3PXP",
      hash: "$argon2id$v=19$m=65536,t=3,p=1$c2FsdA$dGFn",
    };
    say("error", "event", {
      what: `before ${Object.values(secrets).toReversed().join(" and ")}`,
      key: secrets.pem,
      code: "123456",
    });
    for (const secret of Object.values(secrets))
      assert.ok(!lines[0]!.includes(JSON.stringify(secret).slice(1, -1)), secret);
    assert.doesNotMatch(lines[0]!, /Geheim|c2VjcmV0|JBSWY3DP|123456|abababab/);
    say("error", "event", { code: "signing/locked", key: "release", keyid: "ab12" });
    assert.match(lines[1]!, /"code":"signing\/locked","key":"release"/);
  });

  it("loses its facts but not its event when it would be endless", () => {
    say("info", "event", { what: "x".repeat(100_000) });
    assert.ok(lines[0]!.length < 200 && lines[0]!.includes('"event":"event"'));
  });
});

describe("a log file", () => {
  it("is private, is set aside by size, and keeps as many as it should", () => {
    const path = join(folder, "signer.log");
    const log = new LogFile(settings(path));
    for (let i = 0; i < 600; i++) log.write(`${JSON.stringify({ i, fill: "x".repeat(1000) })}\n`);
    log.close();
    assert.deepEqual(readdirSync(folder), ["signer.log", "signer.log.1", "signer.log.2", "signer.log.3"]);
    const numbers = ["signer.log.3", "signer.log.2", "signer.log.1", "signer.log"].flatMap((name) => {
      const stat = statSync(join(folder, name));
      assert.equal(stat.mode & 0o777, 0o600);
      assert.ok(stat.size <= 64 * 1024);
      return readFileSync(join(folder, name), "utf8")
        .trimEnd()
        .split("\n")
        .map((line) => (JSON.parse(line) as { i: number }).i);
    });
    assert.deepEqual(
      numbers,
      Array.from({ length: numbers.length }, (_, k) => 600 - numbers.length + k),
    );
  });

  it("goes on where it was, and is made private if it was not", () => {
    const path = join(folder, "signer.log");
    writeFileSync(path, "{}\n", { mode: 0o644 });
    const log = new LogFile(settings(path));
    log.write("{}\n");
    log.close();
    assert.deepEqual([readFileSync(path, "utf8"), statSync(path).mode & 0o777], ["{}\n{}\n", 0o600]);
  });

  it("is opened anew after somebody moved it away", () => {
    const path = join(folder, "signer.log");
    const log = new LogFile(settings(path));
    log.write("one\n");
    renameSync(path, `${path}.moved`);
    log.write("two\n");
    log.reopen();
    log.write("three\n");
    log.close();
    assert.deepEqual(
      [readFileSync(`${path}.moved`, "utf8"), readFileSync(path, "utf8")],
      ["one\ntwo\n", "three\n"],
    );
  });

  it("is refused if it is a link or a folder or cannot be made, and the old one stays in use", () => {
    const path = join(folder, "signer.log");
    const log = new LogFile(settings(path));
    symlinkSync("/dev/null", join(folder, "link.log"));
    mkdirSync(join(folder, "folder.log"));
    for (const bad of ["link.log", "folder.log", "missing/signer.log"]) {
      assert.throws(() => new LogFile(settings(join(folder, bad))), { code: "signing/log-file" });
      assert.throws(() => log.reopen(settings(join(folder, bad))), { code: "signing/log-file" });
    }
    log.write("still\n");
    log.close();
    assert.equal(readFileSync(path, "utf8"), "still\n");
  });
});

describe("the output of a child", () => {
  it("becomes lines of the log: its own lines as they are, everything else as text of one event", async () => {
    const stream = new PassThrough();
    relayLines(stream, "release", (line) => lines.push(line), say);
    const own = '{"time":"2026-01-01T00:00:00Z","level":"info","event":"started"}';
    stream.write(own.slice(0, 20));
    stream.write(`${own.slice(20)}\nnode:internal: Error: \u001b[31mbad\n`);
    stream.write('{"time":"x","forged\n');
    stream.end("last words");
    await new Promise((resolve) => stream.once("close", resolve));
    assert.equal(lines[0], `${own}\n`);
    const texts = lines
      .slice(1)
      .map((line) => JSON.parse(line) as { event: string; text: string; process: string });
    assert.deepEqual(
      texts.map(({ event, process, text }) => [event, process, text]),
      [
        ["output", "release", "node:internal: Error: \u001b[31mbad"],
        ["output", "release", '{"time":"x","forged'],
        ["output", "release", "last words"],
      ],
    );
  });

  it("is cut where it has no end", async () => {
    const stream = new PassThrough();
    relayLines(stream, "release", (line) => lines.push(line), say);
    stream.end("x".repeat(100_000));
    await new Promise((resolve) => stream.once("close", resolve));
    assert.ok(lines.length > 0 && lines.every((line) => line.length < 4000));
  });
});
