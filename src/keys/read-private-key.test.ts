// Private keys that other tools wrote: what is taken, what is opened, and that everything else gets an answer of its own.

import assert from "node:assert/strict";
import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { describe, it } from "node:test";
import { openPrivateKey, privateKeyForm } from "./read-private-key.ts";

const ed = generateKeyPairSync("ed25519");
const ec = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const hidden = { cipher: "aes-256-cbc", passphrase: "secret1" } as const;
const bytes = (text: string | Buffer): Uint8Array => new Uint8Array(Buffer.from(text));

function read(file: Uint8Array, passphrase: string | null = null): KeyObject {
  return openPrivateKey(file, privateKeyForm(file, "key.pem"), passphrase, "key.pem");
}

const refusal = (file: Uint8Array, passphrase: string | null = null): string => {
  try {
    read(file, passphrase);
  } catch (error) {
    const { code, message, hint } = error as { code: string; message: string; hint?: string };
    return `${code} ${message} ${hint ?? ""}`;
  }
  return "taken";
};

describe("a private key of another tool", () => {
  const forms: readonly (readonly [
    name: string,
    key: KeyObject,
    file: string | Buffer,
    passphrase: string | null,
  ])[] = [
    ["PKCS#8 in PEM", ed.privateKey, ed.privateKey.export({ type: "pkcs8", format: "pem" }), null],
    ["SEC1 in PEM", ec.privateKey, ec.privateKey.export({ type: "sec1", format: "pem" }), null],
    ["PKCS#1 in PEM", rsa.privateKey, rsa.privateKey.export({ type: "pkcs1", format: "pem" }), null],
    ["PKCS#8 in DER", ed.privateKey, ed.privateKey.export({ type: "pkcs8", format: "der" }), null],
    ["SEC1 in DER", ec.privateKey, ec.privateKey.export({ type: "sec1", format: "der" }), null],
    ["PKCS#1 in DER", rsa.privateKey, rsa.privateKey.export({ type: "pkcs1", format: "der" }), null],
    [
      "encrypted PKCS#8 in PEM",
      ed.privateKey,
      ed.privateKey.export({ type: "pkcs8", format: "pem", ...hidden }),
      "secret1",
    ],
    [
      "encrypted PKCS#8 in DER",
      rsa.privateKey,
      rsa.privateKey.export({ type: "pkcs8", format: "der", ...hidden }),
      "secret1",
    ],
    [
      "PKCS#1 encrypted as OpenSSL once did",
      rsa.privateKey,
      rsa.privateKey.export({ type: "pkcs1", format: "pem", ...hidden }),
      "secret1",
    ],
  ];
  for (const [name, key, file, passphrase] of forms) {
    it(`is taken as ${name}`, () => {
      assert.equal(privateKeyForm(bytes(file), "x").encrypted, passphrase !== null);
      assert.ok(read(bytes(file), passphrase).equals(key));
    });
    if (passphrase === null) continue;
    it(`is not opened as ${name} with another passphrase, or with none`, () => {
      assert.match(
        refusal(bytes(file), "secret2"),
        /^key\/bad-passphrase The key in key.pem cannot be opened/,
      );
      assert.match(refusal(bytes(file)), /^key\/passphrase-needed /);
    });
  }

  it("is found behind text and parameters, as openssl writes them", () => {
    const pem = String(ed.privateKey.export({ type: "pkcs8", format: "pem" }));
    const parameters = "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
    assert.ok(read(bytes(`a line for people\n${parameters}${pem}`)).equals(ed.privateKey));
  });
});

describe("what is no private key", () => {
  const pem = String(ed.privateKey.export({ type: "pkcs8", format: "pem" }));
  const spki = ed.publicKey.export({ type: "spki", format: "pem" });
  const cases: readonly (readonly [name: string, file: string | Buffer, answer: RegExp])[] = [
    ["a public key in PEM", spki, /is a public key, and the private one is needed/],
    ["a public key in DER", ed.publicKey.export({ type: "spki", format: "der" }), /is a public key/],
    [
      "a public key of OpenSSH",
      "ssh-ed25519 AAAAC3NzaC1lZDI1 me@here\n",
      /public half of a key in OpenSSH's form/,
    ],
    [
      "a private key of OpenSSH",
      "-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----\n",
      /OpenSSH's form.*ssh-keygen -p -m PKCS8/,
    ],
    ["two keys", `${pem}${ec.privateKey.export({ type: "pkcs8", format: "pem" })}`, /holds 2 private keys/],
    [
      "a certificate",
      "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
      /holds a certificate and no private key/,
    ],
    [
      "a certificate in DER",
      Buffer.from("30083002010130020101", "hex"),
      /holds a certificate and no private key/,
    ],
    ["a key that was cut", pem.slice(0, 60), /it was cut/],
    [
      "a key that was changed",
      pem.replace(/\n.{20}/, "\nAAAAAAAAAAAAAAAAAAAA"),
      /cannot be read: it is damaged/,
    ],
    ["a text", "hello\n", /neither PEM nor DER/],
    ["an empty file", "", /neither PEM nor DER/],
    ["DER of another kind", Buffer.from("3003040100", "hex"), /DER of another kind/],
    [
      "another PEM file",
      "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n",
      /holds X509 CRL and no private key/,
    ],
  ];
  for (const [name, file, answer] of cases) {
    it(`is told apart: ${name}`, () => {
      const told = refusal(bytes(file));
      assert.match(told, /^key\/malformed /);
      assert.match(told, answer);
    });
  }
});
