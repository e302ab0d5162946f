// Tests of which key signs over which digest: every pair has its scheme or its refusal, and none is left to chance.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { SCHEMES, type Scheme } from "../../keys/scheme.ts";
import type { Operation } from "./operation.ts";
import { schemeOf } from "./key-fit.ts";

const ALGORITHMS = ["sha256", "sha384", "sha512"] as const;
const cms = (algorithm: (typeof ALGORITHMS)[number]): Operation => ({
  kind: "cms",
  algorithm,
  digest: "",
  timestamp: false,
});
const refused = (operation: Operation, ...schemes: readonly [Scheme, ...Scheme[]]): void =>
  assert.throws(() => schemeOf(operation, schemes), { code: "signing/bad-request" }, schemes.join());

describe("a key and a digest", () => {
  it("go together as the specifications say, and every other pair is refused", () => {
    const good: { readonly [S in Scheme]?: readonly string[] } = {
      ed25519: ["sha512"],
      "ecdsa-sha2-nistp256": ["sha256"],
      "ecdsa-sha2-nistp384": ["sha384"],
      "ecdsa-sha2-nistp521": ["sha512"],
      "rsa-pkcs1v15-sha256": ["sha256"],
      "rsa-pkcs1v15-sha384": ["sha384"],
      "rsa-pkcs1v15-sha512": ["sha512"],
    };
    for (const scheme of Object.keys(SCHEMES) as Scheme[])
      for (const algorithm of ALGORITHMS)
        if (good[scheme]?.includes(algorithm) === true)
          assert.equal(schemeOf(cms(algorithm), [scheme]), scheme);
        else refused(cms(algorithm), scheme);
  });

  it("of RSA go together where the key is set up for it, always as PKCS#1 v1.5", () => {
    const all = ["rsa-pkcs1v15-sha256", "rsa-pkcs1v15-sha384"] as const;
    assert.equal(schemeOf(cms("sha384"), [...all]), "rsa-pkcs1v15-sha384");
    refused(cms("sha512"), ...all);
    assert.equal(schemeOf(cms("sha256"), ["rsassa-pss-sha256", ...all]), "rsa-pkcs1v15-sha256");
  });

  it("of a Windows file are never Ed25519", () => {
    const program = (algorithm: "sha256" | "sha512"): Operation => ({
      kind: "authenticode",
      format: "pe",
      algorithm,
      digest: "",
      timestamp: false,
    });
    refused(program("sha512"), "ed25519");
    assert.equal(schemeOf(program("sha256"), ["ecdsa-sha2-nistp256"]), "ecdsa-sha2-nistp256");
  });

  it("of bare bytes go together as the key's configuration says, whatever its first scheme is", () => {
    const raw: Operation = { kind: "raw", scheme: "rsassa-pss-sha256", message: "", purpose: "x" };
    assert.equal(schemeOf(raw, ["rsa-pkcs1v15-sha256", "rsassa-pss-sha256"]), "rsassa-pss-sha256");
    refused(raw, "rsa-pkcs1v15-sha256");
    assert.equal(schemeOf({ ...raw, scheme: "ml-dsa-44/1" }, ["ml-dsa-44/1"]), "ml-dsa-44/1");
  });
});
