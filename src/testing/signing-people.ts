// Users, policies and sign-ins for tests of a whole signing service: machines, people with passwords and codes, pipelines with tokens.

import { generateKeyPairSync } from "node:crypto";
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { toBase64, toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { systemClock } from "../io/system/clock.ts";
import { identityOf, type Identity } from "../io/signing/pinned-tls.ts";
import { systemRandom } from "../io/system/random.ts";
import { purposeKey, sealWith } from "../signing/custody/custody.ts";
import { hashPassword } from "../signing/policy/password.ts";
import { stepOf, totpAt } from "../signing/policy/totp.ts";
import { newId, SigningRig, UNLOCKED, type RigOptions } from "./signing-rig.ts";

const TOTP = new Uint8Array(20).fill(9);
const password = await hashPassword("correct horse battery", systemRandom);
const sealedTotp = (user: string): string => {
  const sealed = sealWith(purposeKey(UNLOCKED, "config v1"), TOTP, `totp ${user}`, systemRandom);
  return `${sealed.nonce}.${sealed.ciphertext}`;
};
const person = (name: string, roles = '["approver"]'): string =>
  `[users.${name}]\nkind = "person"\nroles = ${roles}\npassword = "${password}"\ntotp = "${sealedTotp(name)}"\n`;
/** What the first signer's users may do. */
export const CONFIG = `
[oidc.ci]
issuer = "https://ci.example"
audience = "upkeep"
binding = "none"
[oidc.bound]
issuer = "https://bound.example"
audience = "upkeep"
binding = "key"
[users.build]
kind = "machine"
keys = ["@ci"]
[users.pipeline]
kind = "ci"
issuer = "ci"
claims = { repository = "acme/app" }
[users.strict]
kind = "ci"
issuer = "bound"
claims = { repository = "acme/app" }
${person("alice", '["approver", "requester"]')}
${person("bob")}
${person("carol")}
${person("dave")}
${person("erin")}
[keys.release]
custody = "file"
scheme = "ecdsa-sha2-nistp256"
[keys.other]
custody = "file"
scheme = "ed25519"
[certificates.release]
key = "release"
[certificates.release.policy.default]
users = ["build", "pipeline", "strict"]
operations = ["cms", "elf"]
names = ["*.bin"]
[certificates.approved]
key = "release"
[certificates.approved.policy.default]
users = ["build", "alice"]
operations = ["raw"]
approvals = 2
approvers = ["alice", "bob", "carol", "dave", "erin"]
[certificates.limited]
key = "release"
[certificates.limited.policy.default]
users = ["build"]
operations = ["raw"]
per-hour = 3
[certificates.slow]
key = "other"
[certificates.slow.policy.default]
users = ["build"]
operations = ["raw"]
`;

/** A new key that nobody registered. */
export const identity = (): Promise<Identity> =>
  identityOf(generateKeyPairSync("ed25519").privateKey, systemClock, systemRandom);
export const issuerKeys = await generateKeyPair("ES256");
const jwk = { ...(await exportJWK(issuerKeys.publicKey)), kid: "k1", alg: "ES256" };
/** A pipeline's token. */
export const token = (issuer: string, claims: object, audience = "upkeep"): Promise<string> =>
  new SignJWT({ repository: "acme/app", jti: newId(), ...claims })
    .setProtectedHeader({ alg: "ES256", kid: "k1" })
    .setIssuer(issuer)
    .setAudience(audience)
    .setIssuedAt()
    .setExpirationTime("5m")
    .sign(issuerKeys.privateKey);
const uses = new Map<string, Set<number>>();
/** Codes are good once: each person takes the next step's, then this one's, then the last one's. Read when they sign in: the run may take longer than a code lives. */
export const signInAs = (user: string, secret = "correct horse battery") => {
  return async () => {
    const used = uses.get(user) ?? new Set<number>();
    uses.set(user, used);
    const at = stepOf(systemClock.now());
    const step = [at + 1, at, at - 1].find((candidate) => !used.has(candidate)) ?? at;
    used.add(step);
    return { method: "password", user, password: secret, code: totpAt(TOTP, step) } as const;
  };
};
/** A wish for a bare signature that needs two approvals. */
export const rawWish = (text: string) => ({
  certificate: "approved",
  operation: {
    kind: "raw",
    scheme: "ecdsa-sha2-nistp256",
    message: toBase64(toUtf8(text)),
    purpose: "test",
  } as const,
  file: { name: "x.bin", length: text.length, sha256: sha256Hex(toUtf8(text)) },
});

/** One gateway, one signer, and an issuer of tokens. */
export const startRig = (options: Partial<RigOptions> = {}): Promise<SigningRig> =>
  SigningRig.start({
    ...options,
    config: CONFIG,
    gateway:
      "[limits]\nsession-bytes = 262144\nidle-seconds = 30\nwait-seconds = 1\nconnects-per-second = 1000\nconnects-burst = 1000\n",
    fetchJson: async (url) =>
      url.includes("openid-configuration")
        ? { issuer: url.split("/.well")[0], jwks_uri: `${url.split("/.well")[0]}/keys` }
        : { keys: [jwk] },
  });
