// A publisher who signs ELF files for tests, honestly or not, and what has to come of it.

import assert from "node:assert/strict";
import { attribute } from "../artifact/cms-build.ts";
import { digestContent } from "../artifact/content-digest.ts";
import { hashOf, signContent, type ContentSigner, type Stamp } from "../artifact/content-sign.ts";
import { writeContainer } from "../artifact/elf/container.ts";
import { MANIFEST_OID, writeManifest, type Manifest } from "../artifact/elf/manifest.ts";
import { signElf, type ElfSigning } from "../artifact/elf/sign.ts";
import { requireElf, verifyElf, type ElfPolicy } from "../artifact/elf/verify.ts";
import { ArtifactError } from "../artifact/errors.ts";
import { makeSignature } from "../artifact/make-signature.ts";
import { writeRewrite } from "../artifact/rewrite.ts";
import { bytesSource, MemorySink } from "../artifact/source.ts";
import { concat } from "../core/bytes.ts";
import { DAY, type Instant } from "../core/instant.ts";
import * as oids from "../der/oids.ts";
import { issue, publisherPki, type Holder, type Pki, type TestKey } from "./publisher-pki.ts";

export const ELF_IDENTITY = { product: "example", version: "1.2.3", release: 7, channel: "stable" } as const;

export type ElfPerson = ContentSigner & Pick<Holder, "privateKey">;

export type ElfWish = {
  readonly signers?: readonly ContentSigner[];
  readonly plain?: boolean;
  readonly release?: number;
  readonly mode?: ElfSigning["mode"];
  readonly requireStripped?: boolean;
  readonly stamp?: Stamp;
};

export type ElfPublisher = {
  readonly pki: Pki;
  /** Signs unless the wish names others; RSA. */
  readonly alice: ElfPerson;
  /** Trusts the publisher's root and demands nothing. */
  readonly policy: ElfPolicy;
  readonly person: (name: string, key: TestKey, eku?: string, under?: Pki) => Promise<ElfPerson>;
  readonly sign: (file: Uint8Array, wish?: ElfWish) => Promise<Uint8Array>;
  /** Signs with a manifest that `signElf` would not write. */
  readonly signLying: (file: Uint8Array, lie: Partial<Manifest>) => Promise<Uint8Array>;
  /** Asserts that the file is refused with this code. */
  readonly refused: (file: Uint8Array, code: string, more?: Partial<ElfPolicy>) => Promise<void>;
};

export async function elfPublisher(now: Instant): Promise<ElfPublisher> {
  const pki = await publisherPki({ now });
  const policy: ElfPolicy = { roots: [pki.root.certificate], now };
  const person: ElfPublisher["person"] = async (name, key, eku = oids.codeSigning, under = pki) => {
    const span = { notBefore: now - DAY, notAfter: now + 365 * DAY };
    const holder = await issue(under.authority, name, key, { ...span, eku: [eku] });
    return { ...holder, chain: [under.authority.certificate] };
  };
  const alice = await person("Alice", "rsa2048");
  const sign = (file: Uint8Array, wish: ElfWish = {}): Promise<Uint8Array> =>
    signWith(wish.signers ?? [alice], file, wish);
  return {
    pki,
    alice,
    policy,
    person,
    sign,
    signLying: async (file, lie) => {
      const honest = (await verifyElf(bytesSource(await sign(file)), policy)).manifest!;
      const digests = await digestContent(bytesSource(file), file.length, ["sha512"]);
      const cms = await signContent({
        digests,
        signers: [alice],
        attributes: [attribute(MANIFEST_OID, writeManifest({ ...honest, ...lie }))],
      });
      return concat([file, writeContainer(cms)]);
    },
    refused: (file, code, more = {}) =>
      assert.rejects(requireElf(bytesSource(file), { ...policy, ...more }), (error: unknown) => {
        assert.ok(error instanceof ArtifactError, String(error));
        assert.equal(error.code, code, error.message);
        return true;
      }),
  };
}

async function signWith(
  signers: readonly ContentSigner[],
  file: Uint8Array,
  wish: ElfWish,
): Promise<Uint8Array> {
  const {
    plain = false,
    release = ELF_IDENTITY.release,
    mode = "new",
    requireStripped = false,
    stamp,
  } = wish;
  const [first, ...rest] = signers.map((one) => ({ ...one, hash: hashOf(one) }));
  const source = bytesSource(file);
  const { rewrite } = await signElf(source, {
    identity: plain ? null : { ...ELF_IDENTITY, release },
    hashes: [first!.hash, ...rest.map((one) => one.hash)],
    // Several at once, as the signing service may; `makeSignature` is the way of one.
    makeSignature: (what) =>
      what.kind === "plain" || rest.length === 0
        ? makeSignature(what, { ...first!, ...(stamp === undefined ? {} : { stamp }) })
        : signContent({
            digests: what.digests,
            signers: [first!, ...rest],
            attributes: [attribute(MANIFEST_OID, what.manifest!)],
          }),
    mode,
    requireStripped,
  });
  const sink = new MemorySink();
  await writeRewrite(source, rewrite, sink);
  return sink.bytes;
}
