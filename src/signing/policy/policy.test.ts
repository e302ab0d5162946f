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

  const at = (time: string): Partial<PolicyInput> => ({ now: parseInstant(`2026-11-23T${time}:00Z`) });
  const failing = (given: PolicyInput): readonly string[] => {
    const decision = decide(given);
    return decision.outcome === "deny"
      ? decision.checks.filter(({ ok }) => !ok).map(({ name }) => name.replace("default/", ""))
      : [decision.outcome];
  };

  it("counts the first minute of the hours in and the last one out, over midnight as well", () => {
    const good = (hours: string, time: string): boolean => {
      const given = input(`hours = "${hours}"`, at(time));
      const certificate = { ...given.certificate!, validTo: null };
      return failing({ ...given, certificate })[0] === "allow";
    };
    for (const [hours, time, expected] of [
      ["12:00-13:00", "12:00", true],
      ["12:00-13:00", "11:59", false],
      ["12:00-13:00", "12:59", true],
      ["12:00-13:00", "13:00", false],
      ["12:30-13:30", "12:29", false],
      ["12:30-13:30", "13:29", true],
      ["22:00-06:00", "22:00", true],
      ["22:00-06:00", "05:59", true],
      ["22:00-06:00", "06:00", false],
      ["22:00-06:00", "21:59", false],
      // Nothing begins and ends at once.
      ["12:00-12:00", "12:00", false],
      ["12:00-12:00", "11:00", false],
    ] as const)
      assert.equal(good(hours, time), expected, `${time} of ${hours}`);
    assert.deepEqual(failing(input('days = ["mon"]')), ["allow"]);
  });

  it("asks each limit about its own span, of this rule and this certificate", () => {
    const asked: string[] = [];
    const usage = {
      count: (certificate: string, rule: string, since: number) => {
        asked.push(`${certificate}/${rule} ${NOON - since}`);
        return 0;
      },
    };
    const limits = "per-hour = 1\nper-day = 1\ntotal = 1";
    assert.deepEqual(failing(input(limits, { usage })), ["allow"]);
    assert.deepEqual(asked, [
      "release/default 3600000",
      "release/default 86400000",
      "release/default Infinity",
    ]);
    assert.deepEqual(failing(input("per-day = 6\ntotal = 6")), ["allow"]);
  });

  it("allows a file of exactly the largest size", () => {
    assert.deepEqual(failing(input("max-size = 10")), ["allow"]);
  });

  it("judges a key without certificate by no date, and one out of use by nothing else", () => {
    const given = input("");
    const certificate = given.certificate!;
    assert.deepEqual(failing({ ...given, certificate: { ...certificate, validTo: null } }), ["allow"]);
    const config = { ...certificate.config, disabled: true };
    assert.deepEqual(failing({ ...given, certificate: { ...certificate, config } }), ["enabled"]);
  });

  it("denies who is no requester, and everybody where there is no rule", () => {
    const given = input("");
    const user = { name: "build", config: { ...given.user.config, roles: ["approver" as const] } };
    assert.deepEqual(failing({ ...given, user }), ["role"]);
    const certificate = { ...given.certificate!, config: { ...given.certificate!.config, policy: {} } };
    assert.deepEqual(failing({ ...given, certificate }), ["rule"]);
  });

  it("takes the first rule that fits, and names what failed in each if none does", () => {
    const given = input('names = ["*.exe"]');
    const first = given.certificate!.config.policy["default"]!;
    const withRules = (policy: object): PolicyInput => ({
      ...given,
      certificate: { ...given.certificate!, config: { ...given.certificate!.config, policy } as never },
    });
    const { names: _names, ...open } = first;
    const decision = decide(withRules({ first, second: open }));
    assert.ok(decision.outcome === "allow" && decision.rule === "second");
    const denied = decide(withRules({ first, second: { ...open, users: ["eve"] } }));
    assert.deepEqual(
      denied.checks.filter(({ ok }) => !ok).map(({ name }) => name),
      ["first/name", "second/who"],
    );
    // What the second rule is made of never helps the first.
    assert.ok(denied.checks.every(({ ok, reason }) => ok === (reason === "")));
  });

  it("judges bare bytes by scheme and purpose, and never asks a stamp of them", () => {
    const raw = (rule: string): readonly string[] => {
      const given = input(rule);
      const policy = given.certificate!.config.policy["default"]!;
      const config = {
        ...given.certificate!.config,
        policy: { default: { ...policy, operations: ["raw" as const] } },
      };
      const operation = { kind: "raw", scheme: "ed25519", message: "", purpose: "tuf/targets" };
      const request = { ...given.request, operation } as SigningRequest;
      return failing({ ...given, request, certificate: { ...given.certificate!, config } });
    };
    assert.deepEqual(raw(""), ["allow"]);
    assert.deepEqual(raw('timestamp = "required"'), ["allow"]);
    assert.deepEqual(raw('purposes = ["tuf/targets"]'), ["allow"]);
    assert.deepEqual(raw('purposes = ["tuf/snapshot", "tuf/root"]'), ["purpose"]);
    assert.deepEqual(raw('algorithms = ["ed25519"]'), ["allow"]);
    assert.deepEqual(raw('algorithms = ["sha256"]'), ["algorithm"]);
    assert.deepEqual(raw('formats = ["raw"]'), ["allow"]);
  });

  it("judges other operations by no purpose, and by the stamp that they want", () => {
    assert.deepEqual(failing(input('purposes = ["tuf/root"]')), ["allow"]);
    const given = input('timestamp = "required"');
    const operation = { kind: "cms", algorithm: "sha256", digest: "00", timestamp: true } as const;
    assert.deepEqual(failing({ ...given, request: { ...given.request, operation } }), ["allow"]);
  });

  it("says of what it asks who may approve, how many have to, and how long it waits", () => {
    const decision = decide(input('approvals = 1\napprovers = ["bob"]\npending-hours = 5'));
    assert.ok(decision.outcome === "ask");
    assert.deepEqual(
      [decision.rule, decision.needed, decision.approvers, decision.pendingHours],
      ["default", 1, ["bob"], 5],
    );
  });

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
