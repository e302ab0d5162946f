// Builds the messages that the signer returns: Authenticode, ELF and detached CMS, with a timestamp if one is asked for.

import type { Clock } from "../../core/clock.ts";
import { equalBytes, fromBase64, fromHex } from "../../core/bytes.ts";
import type { Random } from "../../core/random.ts";
import { readIndirectData } from "../../artifact/authenticode.ts";
import {
  signAuthenticode,
  valueToStamp,
  withTimestamp,
  type AuthenticodeWish,
} from "../../artifact/authenticode-sign.ts";
import { attribute } from "../../artifact/cms-build.ts";
import { signContent, type ContentSigner } from "../../artifact/content-sign.ts";
import { MANIFEST_OID, writeManifest, type Manifest } from "../../artifact/elf/manifest.ts";
import { peIndirectData } from "../../artifact/pe/indirect.ts";
import { FRESH_WINDOW } from "../../artifact/fresh-timestamp.ts";
import { requestTimestamp, type TimestampTransport } from "../../artifact/timestamp-request.ts";
import { parseDer } from "../../der/reader.ts";
import { SigningError } from "../../signing/errors.ts";
import type { Build } from "../../signing/ports.ts";
import { tableReference, type Operation } from "../../signing/request/operation.ts";
import type { StampSettings } from "../../signing/service.ts";
import { DIRECT, type Proxies } from "../connection/proxies.ts";
import { httpTimestamps } from "./timestamp-transport.ts";

export type BuilderPorts = {
  readonly clock: Clock;
  readonly random: Random;
  /** Asked for each stamp, so that a reload counts at once; undefined if there is no authority. */
  readonly settings: () => StampSettings | undefined;
  /** For the way to time-stamp authorities. */
  readonly proxies?: Proxies;
};

/** The signer knows what it signs: it makes the signed structures itself from what the request says. */
export function messageBuilder({ clock, random, settings, proxies = DIRECT }: BuilderPorts): Build {
  return async ({ operation, chain, key, sign, contentDigest }) => {
    const certificate = chain[0]!;
    const signer = { publicKey: key, sign: (message: Uint8Array) => sign(message) };
    let timestamp: string | undefined;
    // Said before the key is used: no signature is made for nothing.
    if (operation.timestamp && settings() === undefined) throw noAuthority();
    const stamp = async (value: Uint8Array): Promise<Uint8Array> => {
      const wanted = settings();
      if (wanted === undefined) throw noAuthority();
      // Authorities are asked one after the other: the last one asked is the one that was believed.
      let asked = "";
      const http = httpTimestamps(proxies, wanted["timeout-seconds"] * 1000);
      const transport: TimestampTransport = {
        post: (url, contentType, body) => {
          asked = url;
          return http.post(url, contentType, body);
        },
      };
      try {
        const token = await requestTimestamp(value, {
          urls: wanted.urls,
          hash: "sha256",
          transport,
          clock,
          random,
          window: FRESH_WINDOW,
          ...(wanted.policies === undefined ? {} : { policies: wanted.policies }),
          ...(wanted.trusted === undefined ? {} : { roots: wanted.trusted }),
        });
        timestamp = asked;
        return token;
      } catch (cause) {
        throw new SigningError(
          "signing/timestamp-failed",
          `No timestamp could be had: ${cause instanceof Error ? cause.message : String(cause)}`,
          {},
          { cause },
        );
      }
    };
    const done = (cms: Uint8Array) => ({ cms, ...(timestamp === undefined ? {} : { timestamp }) });

    if (operation.kind === "authenticode") {
      const cms = await signAuthenticode({
        ...contentOf(operation, contentDigest),
        hash: operation.algorithm,
        certificate,
        chain: chain.slice(1),
        signer,
        opus: {
          ...(operation.description === undefined ? {} : { name: operation.description }),
          ...(operation.url === undefined ? {} : { url: operation.url }),
        },
        ...(operation.sequence === undefined ? {} : { sequenceNumber: operation.sequence }),
      });
      return done(operation.timestamp ? withTimestamp(cms, await stamp(valueToStamp(cms))) : cms);
    }
    const one: ContentSigner = { certificate, chain: chain.slice(1), signer, hash: operation.algorithm };
    const digest = fromHex(operation.digest);
    const cms = await signContent({
      digests: {
        length: 0,
        of: (algorithm) => (algorithm === operation.algorithm ? digest : null),
        merkleRoot: null,
      },
      signers: [one],
      attributes:
        operation.kind === "elf"
          ? [attribute(MANIFEST_OID, writeManifest(operation.manifest as Manifest))]
          : [],
      ...(operation.timestamp ? { stamp } : {}),
    });
    return done(cms);
  };
}

/** What is signed: the list of a catalog, of which only the digest came; indirect data around a table that passed by; or indirect data. */
function contentOf(
  operation: Extract<Operation, { kind: "authenticode" }>,
  contentDigest: Uint8Array | undefined,
): Pick<AuthenticodeWish, "indirectData" | "contentType"> {
  const { contentType } = operation;
  if (contentType !== undefined) return { contentType, indirectData: { digest: fromHex(operation.digest) } };
  if (tableReference(operation) === null) return { indirectData: indirectDataOf(operation) };
  if (contentDigest === undefined)
    throw new SigningError("signing/bad-request", "The table of page hashes did not arrive.");
  return { indirectData: { digest: contentDigest } };
}

/** For PE made here; for other formats given, read, and only accepted if it says the same as the request. */
export function indirectDataOf(operation: Extract<Operation, { kind: "authenticode" }>): Uint8Array {
  const digest = fromHex(operation.digest);
  if (operation.format === "pe") {
    const pages = operation.pageHashes;
    return peIndirectData(
      operation.algorithm,
      digest,
      pages === undefined || !("table" in pages)
        ? null
        : { algorithm: pages.algorithm, table: fromBase64(pages.table) },
    );
  }
  if (operation.indirectData === undefined || operation.pageHashes !== undefined) {
    throw new SigningError(
      "signing/bad-request",
      `A request for ${operation.format} carries its indirect data and no page hashes.`,
    );
  }
  const der = fromBase64(operation.indirectData);
  const said = readIndirectData(parseDer(der));
  if (said.hash !== operation.algorithm || !equalBytes(said.digest, digest)) {
    throw new SigningError("signing/bad-request", "The indirect data says another digest than the request.");
  }
  return der;
}

function noAuthority(): SigningError {
  return new SigningError("signing/timestamp-failed", "This signer has no timestamp authority configured.");
}
