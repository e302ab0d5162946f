// The agent's look at itself before it does anything: the image that runs must be signed by the publisher it was built for.

import { AgentError } from "../../agent/errors.ts";
import { verifyPublisher } from "../../artifact/publisher.ts";
import { fromUtf8 } from "../../core/bytes.ts";
import { UpkeepError } from "../../core/errors.ts";
import { parseInstant } from "../../core/instant.ts";
import { parseJson } from "../../core/json.ts";
import { checkSchema, instantSchema, sha256Schema, z } from "../../core/schema.ts";
import { parseCertificatesPem } from "../../der/x509.ts";
import { isSingleExecutable, openOwnImage, ownAsset } from "../../io/device/own-image.ts";

/** The asset that a build for a publisher carries. */
export const PUBLISHER_ASSET = "publisher.json";

export const imagePublisherSchema = z.strictObject({
  /** PEM. */
  roots: z.string().check(z.minLength(1), z.maxLength(256 * 1024)),
  /** Keys of the publisher's chain, any of which will do. */
  spkiSha256: z.array(sha256Schema).check(z.minLength(1), z.maxLength(16)),
  /** Certificates are judged as of the build: that a certificate ends must never end the agents it signed. */
  built: instantSchema,
});

/** `source`: runs from source, nothing to check. `unsigned-build`: built for nobody. `checked`: every byte is the publisher's. */
export type SelfCheckOutcome = "source" | "unsigned-build" | "checked";

/**
 * Reads and checks all of the running image; a few hundred milliseconds for 110 MB. It finds damage and files swapped by others;
 * who can rewrite the checker itself is stopped by the agent that installed it, not by this. Throws `agent/image-refused`.
 */
export async function checkOwnImage(): Promise<SelfCheckOutcome> {
  if (!isSingleExecutable()) return "source";
  const asset = ownAsset(PUBLISHER_ASSET);
  if (asset === null) return "unsigned-build";
  const expected = checkSchema(imagePublisherSchema, parseJson(asset), "publisher of this program");
  const image = await openOwnImage();
  try {
    const pin = { spkiSha256: expected.spkiSha256 };
    await verifyPublisher(
      image,
      process.execPath,
      pin,
      parseInstant(expected.built),
      parseCertificatesPem(expected.roots),
      undefined,
      { platform: { os: process.platform, arch: process.arch } },
    );
    return "checked";
  } catch (cause) {
    throw new AgentError(
      "agent/image-refused",
      `This program does not carry its publisher's signature, so it does not run: it was damaged, or somebody changed it. ${cause instanceof Error ? cause.message : ""}`.trim(),
      { program: process.execPath, because: cause instanceof UpkeepError ? cause.code : "unforeseen" },
      {
        cause,
        hint: "Install it again from a source you trust; the components it looked after keep running.",
      },
    );
  } finally {
    await image.close();
  }
}

/** The asset's bytes for a build. */
export function imagePublisher(roots: Uint8Array, spkiSha256: readonly string[], built: string): string {
  const value = { roots: fromUtf8(roots), spkiSha256: [...spkiSha256], built };
  return JSON.stringify(checkSchema(imagePublisherSchema, value, "publisher of the program"));
}
