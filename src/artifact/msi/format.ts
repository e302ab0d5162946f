// The record through which Windows installer packages are known to the rest of the house.

import { equalBytes } from "../../core/bytes.ts";
import { HASH_LENGTH, type HashName } from "../../der/algorithms.ts";
import { ArtifactError, type Findings } from "../errors.ts";
import type { Format } from "../format.ts";
import { indirectFormat, sipInfo, SPC_SIP_INFO, type SignableFile } from "../indirect-format.ts";
import type { ByteSource } from "../source.ts";
import { COMPOUND_MAGIC } from "./compound.ts";
import { regionsOf, slackOf } from "./regions.ts";
import {
  attachToInstaller,
  hiddenBytes,
  installerDigest,
  metadataDigest,
  readInstaller,
  readStream,
  removeFromInstaller,
  type Installer,
} from "./installer.ts";

/** {000C10F1-0000-0000-C000-000000000046}, the class of the installer's subject interface package. */
const GUID = Uint8Array.from(Buffer.from("f1100c0000000000c000000000000046", "hex"));

export const msiFormat: Format = indirectFormat({
  name: "msi",
  title: "Windows installer package (MSI)",
  extensions: [".msi", ".msp", ".mst"],
  matches: (head) => COMPOUND_MAGIC.every((byte, i) => head[i] === byte),
  type: SPC_SIP_INFO,
  value: sipInfo(1, GUID),
  read,
});

async function read(source: ByteSource): Promise<SignableFile> {
  const installer = await readInstaller(source);
  const { signature, extended } = installer;
  const stated = extended === null ? null : await readStream(source, extended);
  return {
    cms: signature === null ? null : await readStream(source, signature),
    plan: async (hash, { keep, options }) => {
      const metadata = keep ? stated !== null : options?.installerMetadata === true;
      const value = metadata ? metadataFor(installer, hash, keep ? stated : null) : null;
      return {
        digest: await installerDigest(source, installer, hash, metadata),
        attach: (cms) => attachToInstaller(installer, cms, value),
      };
    },
    remove: () => removeFromInstaller(installer),
    inspect: async (hash, findings) => {
      await inspectUnowned(source, installer, findings);
      await inspectSlack(source, installer, findings);
      if (stated === null) {
        findings.note(
          "msi/metadata-open",
          "The signature covers contents, not the names, sizes and times of streams (there is no MsiDigitalSignatureEx).",
        );
      } else if (
        stated.length !== HASH_LENGTH[hash] ||
        !equalBytes(stated, metadataDigest(installer, hash))
      ) {
        findings.error(
          "msi/metadata-changed",
          "Names, sizes or times of streams are not those that were signed.",
        );
      }
    },
    regions: regionsOf(installer, source.size),
  };
}

/**
 * CVE-2020-1464: whatever is appended to a signed package stays behind a valid signature, and another program may take the file
 * for what was appended, a JAR for instance. Inside, freed space may hold remains of earlier contents, which is only worth saying.
 */
async function inspectUnowned(source: ByteSource, installer: Installer, findings: Findings): Promise<void> {
  for (const range of installer.file.unowned) {
    const hidden = await hiddenBytes(source, range);
    if (hidden === 0) continue;
    const facts = { offset: range.offset, bytes: hidden };
    if (range.offset + range.size === source.size) {
      findings.error(
        "msi/trailing-bytes",
        `${hidden} bytes follow the package: something was appended to it.`,
        facts,
      );
    } else {
      findings.warning(
        "msi/unowned-bytes",
        `${hidden} bytes inside the package belong to nothing in it and are covered by no digest.`,
        facts,
      );
    }
  }
}

/** The last sector of a stream is seldom full; what stands in its rest is read by nobody and covered by nothing. */
async function inspectSlack(source: ByteSource, installer: Installer, findings: Findings): Promise<void> {
  let bytes = 0;
  const places: number[] = [];
  for (const range of slackOf(installer, source.size)) {
    const hidden = await hiddenBytes(source, range);
    bytes += hidden;
    if (hidden > 0) places.push(range.offset);
  }
  if (bytes > 0)
    findings.warning(
      "msi/slack-bytes",
      `${bytes} bytes stand behind the ends of streams, in the rest of their last sectors, and are covered by no digest; the first at ${places[0]!}.`,
      { bytes, places: places.slice(0, 16) },
    );
}

/** What the stream will hold. A second signature shares it with the first, so it has to be right, and by the same digest. */
function metadataFor(installer: Installer, hash: HashName, stated: Uint8Array | null): Uint8Array {
  const value = metadataDigest(installer, hash);
  if (stated !== null && !equalBytes(stated, value)) {
    throw new ArtifactError(
      "artifact/unsupported",
      "The signature that is there covers names and times by another digest, or they were changed since; a further signature cannot share it.",
      { bytes: stated.length },
    );
  }
  return value;
}
