// Tests of the policy decision and of the configuration that it reads.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseInstant } from "../../core/instant.ts";
import { inNetwork, parseAddress, parseNetwork } from "./address.ts";
import { needsNetwork, parseConfig } from "./config.ts";
import { lineOf } from "../../core/toml-line.ts";
import { appendTable, editSetting, removeTable } from "./config-text.ts";
import { decide, matches, type PolicyInput } from "./policy.ts";
import { toBase64, toUtf8 } from "../../core/bytes.ts";
import { sha256Hex } from "../../core/digest.ts";
import { writeCatalog } from "../../artifact/cat/catalog.ts";
import { content, parseDer } from "../../der/reader.ts";
import { purposeOf, type SigningRequest } from "../request/request.ts";

const BASE = `# who we are
version = 1

[service]
name = "s1" # our name
gateways = []

[users.build]
kind = "machine"
keys = ["${"a".repeat(64)}"]

[users.bob]
kind = "machine"
roles = ["approver"]
keys = ["${"b".repeat(64)}"]

[keys.release]
custody = "file"
scheme = "ed25519"

[certificates.release]
key = "release"
`;
const RULE = `
[certificates.release.policy.default]
users = ["build"]
operations = ["cms"]
`;
const NOON = parseInstant("2026-11-23T12:00:00Z"); // a Monday

function input(rule: string, change: Partial<PolicyInput> = {}, file = "a.bin"): PolicyInput {
  const { config } = parseConfig(BASE + RULE + rule, "signer.toml");
  return {
    request: {
      operation: { kind: "cms", algorithm: "sha256", digest: "00", timestamp: false },
      file: { name: file, length: 10, sha256: "0" },
    } as unknown as SigningRequest,
    user: { name: "build", config: config.users["build"]! },
    certificate: { name: "release", config: config.certificates["release"]!, validTo: NOON + 1 },
    address: "10.1.2.3",
    now: NOON,
    usage: { count: () => 5 },
    ...change,
  };
}

describe("the policy of catalogs", () => {
  const catalog = (names: readonly string[] | null): Partial<PolicyInput> => {
    const member = (name: string) => ({
      name,
      kind: "file" as const,
      algorithm: "sha256" as const,
      digest: new Uint8Array(32).fill(7),
    });
    const list = names === null ? null : writeCatalog(names.map(member), new Uint8Array(16), 0);
    const digest = list === null ? "00" : sha256Hex(content(parseDer(list)));
    const operation = { kind: "authenticode", format: "cat", algorithm: "sha256", digest, timestamp: false };
    const request = {
      operation: { ...operation, ...(list === null ? {} : { list: toBase64(list) }) },
      file: { name: "a.cat", length: 10, sha256: "0" },
    };
    return { request: request as unknown as SigningRequest };
  };
  const decided = (rule: string, names: readonly string[] | null): string => {
    const allowed = input(rule, catalog(names)).certificate!.config.policy["default"]!;
    const given = input(rule, catalog(names));
    const config = {
      ...given.certificate!.config,
      policy: { default: { ...allowed, operations: ["authenticode" as const] } },
    };
    const decision = decide({ ...given, certificate: { ...given.certificate!, config } });
    return decision.outcome === "deny"
      ? decision.checks
          .filter(({ ok }) => !ok)
          .map(({ name, reason }) => `${name}: ${reason}`)
          .join()
      : decision.outcome;
  };

  it("allows those whose list is known, of files that the rule names", () => {
    assert.equal(decided("", ["a.sys", "b.inf"]), "allow");
    assert.equal(decided('members = ["*.sys", "*.inf"]', ["a.sys", "b.inf"]), "allow");
    assert.equal(
      decided('members = ["*.sys"]', ["a.sys", "b.inf"]),
      "default/catalog: the catalog lists b.inf, which fits no pattern of the rule",
    );
  });

  it("refuses one whose list stayed with the client, unless the rule says so", () => {
    const unknown =
      "default/catalog: the catalog's list did not come with the request, so what it lists is not known";
    assert.equal(decided("", null), unknown);
    assert.equal(decided("unread-catalogs = true", null), "allow");
    assert.equal(decided('unread-catalogs = true\nmembers = ["*"]', null), unknown);
  });
});

describe("the policy", () => {
  const rows: readonly (readonly [string, string, string, Partial<PolicyInput>?])[] = [
    ["allows what nothing forbids", "", "allow"],
    ["denies another user", "", "who", { user: { name: "eve", config: input("").user.config } }],
    [
      "denies a disabled user",
      "",
      "user",
      { user: { name: "build", config: { ...input("").user.config, disabled: true } } },
    ],
    ["denies a certificate that does not exist", "", "certificate", { certificate: null }],
    [
      "denies an expired certificate",
      "",
      "validity",
      { certificate: { ...input("").certificate!, validTo: NOON } },
    ],
    ["allows a fitting name", 'names = ["*.bin"]', "allow"],
    ["denies a name that fits no pattern", 'names = ["*.exe"]', "name"],
    ["allows within the hours", 'hours = "11:00-13:00"', "allow"],
    ["denies outside of the hours", 'hours = "13:00-11:00"', "hours"],
    ["denies on another day", 'days = ["sun"]', "hours"],
    ["allows from the network", 'addresses = ["10.0.0.0/8"]', "allow"],
    ["denies from elsewhere", 'addresses = ["192.168.0.0/16", "2001:db8::/32"]', "address"],
    ["denies what is no address at all", 'addresses = ["0.0.0.0/0"]', "address", { address: "" }],
    ["allows below the rate", "per-hour = 6", "allow"],
    ["denies at the rate", "per-hour = 5", "per-hour"],
    ["denies at the daily rate", "per-day = 5", "per-day"],
    ["denies at the total", "total = 5", "total"],
    ["denies after the rule's end", 'until = "2026-11-23T12:00:00Z"', "until"],
    ["denies another algorithm", 'algorithms = ["sha512"]', "algorithm"],
    ["denies another format", 'formats = ["pe"]', "format"],
    ["denies a larger file", "max-size = 9", "size"],
    ["denies without a timestamp where one is required", 'timestamp = "required"', "timestamp"],
    ["asks for approvals", 'approvals = 1\napprovers = ["bob"]', "ask"],
  ];
  for (const [name, rule, expected, change] of rows) {
    it(name, () => {
      const decision = decide(input(rule, change));
      const failed = decision.checks
        .filter((check) => !check.ok)
        .map((check) => check.name.replace("default/", ""));
      assert.deepEqual(decision.outcome === "deny" ? failed : [decision.outcome], [expected]);
    });
  }

  it("denies raw signing unless a rule allows it", () => {
    const raw = input("");
    const request = {
      ...raw.request,
      operation: { kind: "raw", scheme: "ed25519", message: "", purpose: "tuf/root" },
    } as SigningRequest;
    assert.equal(decide({ ...raw, request }).outcome, "deny");
  });

  it("knows what raw bytes are from the bytes", () => {
    assert.equal(purposeOf(toUtf8('{"_type":"root","version":1}')), "tuf/root");
    assert.equal(purposeOf(toUtf8("DSSEv1 11 text/plain+x 2 hi")), "dsse/text/plain+x");
    for (const other of ["", "hello", "{", '{"type":"root"}', '["root"]'])
      assert.equal(purposeOf(toUtf8(other)), null);
  });

  it("matches patterns as a whole", () => {
    assert.ok(matches("setup-1.exe", "setup-*.exe"));
    assert.ok(!matches("evil-setup-1.exe", "setup-*.exe"));
    assert.ok(!matches("a/b.exe", "*.exe"));
    assert.ok(matches("a/b.exe", "**.exe"));
    assert.ok(!matches("aXexe", "a.exe"));
  });

  it("reads addresses strictly", () => {
    for (const bad of ["1.2.3", "1.2.3.256", "01.2.3.4", "1::2::3", ":::", "g::", "1.2.3.4.5", ""])
      assert.equal(parseAddress(bad), null, bad);
    for (const bad of ["10.0.0.1/8", "10.0.0.0/33", "::/129", "10.0.0.0/8/8", "10.0.0.0/08"])
      assert.equal(parseNetwork(bad), null, bad);
    assert.ok(inNetwork(parseAddress("::ffff:10.9.9.9")!, parseNetwork("10.0.0.0/8")!));
    assert.ok(!inNetwork(parseAddress("2001:db9::1")!, parseNetwork("2001:db8::/32")!));
  });
});

describe("the configuration", () => {
  const rows: readonly (readonly [string, string, number])[] = [
    ["a syntax error", `${BASE}[broken`, BASE.split("\n").length],
    ["an unknown setting", BASE.replace('scheme = "ed25519"', 'scheme = "ed25519"\nsekret = 1'), 20],
    ["a value of the wrong type", BASE.replace('name = "s1"', "name = 7"), 5],
    ["a key that is not there", BASE.replace('key = "release"', 'key = "gone"'), 22],
    ["an unknown scheme", BASE.replace('"ed25519"', '"rot13"'), 19],
    ["approvals that nobody can give", `${BASE}${RULE}approvals = 2\napprovers = ["bob"]\n`, 27],
    ["a rule for an unknown user", `${BASE}${RULE.replace("build", "eve")}`, 25],
  ];
  for (const [name, text, line] of rows) {
    it(`names the line of ${name}`, () => {
      assert.throws(
        () => parseConfig(text, "signer.toml"),
        (error: { code: string; message: string; facts: { line: number } }) => {
          assert.equal(error.code, "signing/bad-config");
          assert.equal(error.facts.line, line, error.message);
          assert.match(error.message, new RegExp(`^signer\\.toml:${line}: `));
          return true;
        },
      );
    });
  }

  it("never holds a secret where a reference belongs", () => {
    const text = `${BASE}\n[keys.hsm]\ncustody = "pkcs11"\nscheme = "ed25519"\nmodule = "/x.so"\ntoken = "t"\nlabel = "l"\npin = "1234"\n`;
    assert.throws(() => parseConfig(text, "f"), /never the secret itself/);
  });

  it("says which keys must reach a network: those of key services, and of a token only where it says so", () => {
    const hsm = (more: string): string =>
      `${BASE}\n[keys.hsm]\ncustody = "pkcs11"\nscheme = "ed25519"\nmodule = "/x.so"\ntoken = "t"\nlabel = "l"\npin = "sealed"\n${more}`;
    const kms = `${BASE}\n[keys.hsm]\ncustody = "aws-kms"\nscheme = "ed25519"\nregion = "r"\nkey-id = "k"\ncredentials = "sealed"\n`;
    const needs = (text: string, key: string): boolean =>
      needsNetwork(parseConfig(text, "f").config.keys[key]!);
    assert.deepEqual(
      [
        needs(BASE, "release"),
        needs(hsm(""), "hsm"),
        needs(hsm("network = true\n"), "hsm"),
        needs(kms, "hsm"),
      ],
      [false, false, true, true],
    );
    assert.throws(() => parseConfig(hsm('network = "yes"\n'), "f"), { code: "signing/bad-config" });
    assert.throws(() => parseConfig(BASE.replace("[service]", '[service]\nsandbox = "perhaps"'), "f"), {
      code: "signing/bad-config",
    });
    assert.throws(
      () => parseConfig(BASE.replace("[service]", '[service]\nlog-file = "signer.log"'), "f"),
      /absolute path/,
    );
  });

  it("is edited without touching anything else", () => {
    const disabled = editSetting(BASE, ["users", "build"], "disabled", true);
    assert.equal(disabled, BASE.replace("[users.build]", "[users.build]\ndisabled = true"));
    assert.equal(editSetting(disabled, ["users", "build"], "disabled", undefined), BASE);
    const added = appendTable(BASE, ["users", "eve"], { kind: "machine", keys: ["c".repeat(64)] });
    assert.ok(added.startsWith(BASE.trimEnd()));
    assert.equal(parseConfig(added, "f").config.users["eve"]!.kind, "machine");
    assert.equal(removeTable(added, ["users", "eve"]).trimEnd(), BASE.trimEnd());
    assert.throws(() => appendTable(BASE, ["users", "bob"], {}), { code: "signing/exists" });
    const many = editSetting(
      BASE.replace("gateways = []", "gateways = [\n  # none yet\n]"),
      ["service"],
      "gateways",
      [],
    );
    assert.match(many, /gateways = \[\s*\]/);
    assert.equal(lineOf(BASE, ["users", "bob", "roles"]), 14);
  });

  it("refuses to edit what it cannot edit safely", () => {
    assert.throws(
      () =>
        editSetting(
          `certificates = { release = { key = "release" } }\n${BASE.replace(/\[certificates.release\]\nkey = "release"\n/, "")}`,
          ["certificates", "release"],
          "disabled",
          true,
        ),
      {
        code: "signing/bad-config",
      },
    );
  });
});
