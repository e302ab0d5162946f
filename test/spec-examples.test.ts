// The worked examples of the formats between device and server are checked, so that the pages stay true.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { toUtf8 } from "../src/core/bytes.ts";
import { parseInstant } from "../src/core/instant.ts";
import { AUTHORITY_STATES } from "../src/identity/authority-states.ts";
import { parseTrustBundle, serialiseTrustBundle } from "../src/identity/trust-bundle.ts";
import { secretDigest, parseToken } from "../src/identity/token.ts";
import { parseTufKey } from "../src/keys/public-key.ts";
import { openAssignment } from "../src/message/assignment.ts";
import { ROUTES } from "../src/message/routes.ts";
import { openReport } from "../src/report/report.ts";

const page = (name: string): string => readFileSync(new URL(`../spec/${name}.md`, import.meta.url), "utf8");
const blocks = (text: string): string[] =>
  [...text.matchAll(/```(?:json)?\n([\s\S]*?)\n```/g)].map((m) => m[1]!);
const keyIn = (text: string) =>
  parseTufKey({
    keytype: "ed25519",
    scheme: "ed25519",
    keyval: { public: /`([0-9a-f]{64})`/.exec(text)![1]! },
  });

describe("the example of", () => {
  it("the assignment verifies and says what the page says", () => {
    const text = page("assignment").split("## Example")[1]!;
    const [envelope, payload] = blocks(text);
    const expected = JSON.parse(payload!) as { device: string; nonce: string };
    const assignment = openAssignment(toUtf8(`${envelope!}\n`), {
      keys: [keyIn(text)],
      device: expected.device,
      nonce: expected.nonce,
      now: parseInstant("2026-11-21T04:10:00Z"),
    });
    assert.deepEqual(assignment, expected);
  });

  it("the report verifies and says what the page says", () => {
    const text = page("report").split("## Example")[1]!;
    const [envelope, payload] = blocks(text);
    const expected = JSON.parse(payload!) as { device: string };
    const opened = openReport(toUtf8(`${envelope!}\n`), { key: keyIn(text), device: expected.device });
    assert.deepEqual(opened.report, expected);
    assert.ok(text.includes(opened.payloadSha256));
  });

  it("the enrolment token is one, of the length and with the stored digest that the page names", () => {
    const text = page("enrollment-token");
    const [token] = blocks(text.split("## Example")[1]!);
    const { secret, caSpkiSha256, rootSha256 } = parseToken(token!);
    assert.ok(text.includes(`${token!.length} characters`));
    assert.ok(text.includes(secretDigest(secret)));
    assert.deepEqual([caSpkiSha256, rootSha256], ["11".repeat(32), "22".repeat(32)]);
  });

  it("the trust bundle is read, is written the same again, and says what the page says", () => {
    const [example] = blocks(page("trust-bundle").split("## Example")[1]!);
    const bytes = toUtf8(`${example!}\n`);
    const bundle = parseTrustBundle(bytes);
    assert.deepEqual(serialiseTrustBundle(bundle), bytes);
    assert.deepEqual(
      bundle.authorities.map(({ kind, state }) => `${kind} ${state}`),
      ["server tainted", "server active", "device active"],
    );
  });

  it("the table of the trust bundle's states is the one that is acted by", () => {
    const text = page("trust-bundle").split("## States")[1]!;
    for (const [state, { issues, believed }] of Object.entries(AUTHORITY_STATES)) {
      const row = `| \`${state}\` | ${issues ? "yes" : "no"} | ${believed ? "yes" : "no"} |`;
      assert.ok(text.includes(row), row);
    }
  });

  it("the wire names every call of the route table", () => {
    const text = page("wire");
    for (const { method, path } of Object.values(ROUTES))
      assert.ok(text.includes(`\`${method} ${path}\``), path);
  });
});
