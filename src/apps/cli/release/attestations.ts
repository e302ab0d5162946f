// Documents about a release on the command line: taken or made at `release add`, shown at `release show`.

import { resolve } from "node:path";
import { fromUtf8 } from "../../../core/bytes.ts";
import { sha256Hex } from "../../../core/digest.ts";
import {
  ATTESTATION_LIMIT,
  checkSubjects,
  makeProvenance,
  parseProvenance,
  parseSbom,
  type AttestationKind,
} from "../../../release/attestation.ts";
import type { Call } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";

/** `before`: what the builder made, if the signing service has changed it since. */
type File = { readonly file: string; readonly sha256: string; readonly before: string | null };

/** What is published beside the release. Errors: `release/bad-attestation`, `cli/usage`, `disk/*`. */
export async function attestationsOf(
  call: Call,
  artifacts: readonly File[],
): Promise<ReadonlyMap<AttestationKind, Uint8Array>> {
  const { disk } = call.context;
  const found = new Map<AttestationKind, Uint8Array>();
  const sbom = call.text("sbom");
  if (sbom !== undefined) {
    const bytes = await disk.read(resolve(sbom), ATTESTATION_LIMIT);
    parseSbom(bytes);
    found.set("sbom", bytes);
  }
  const provenance = call.text("provenance");
  const [source, commit, builder] = [call.text("source"), call.text("commit"), call.text("builder")];
  if (provenance !== undefined) {
    if (source !== undefined || commit !== undefined || builder !== undefined)
      throw usage("--provenance says source, commit and builder already.");
    const bytes = await disk.read(resolve(provenance), ATTESTATION_LIMIT);
    const { subjects } = parseProvenance(bytes);
    // A builder knows its bytes, not those that our own signature made of them.
    const known = artifacts.map(({ file, sha256, before }) => ({
      file,
      sha256: before !== null && subjects.includes(before) ? before : sha256,
    }));
    checkSubjects({ subjects }, known);
    found.set("provenance", bytes);
  } else if (source !== undefined || commit !== undefined || builder !== undefined) {
    if (source === undefined || commit === undefined || builder === undefined)
      throw usage("A provenance needs all of --source, --commit and --builder.");
    if (!/^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(commit))
      throw usage("--commit is the whole commit id, 40 or 64 lower-case hex digits.");
    const bytes = makeProvenance({ artifacts, source, commit, builder });
    checkSubjects(parseProvenance(bytes), artifacts);
    found.set("provenance", bytes);
  }
  return found;
}

/** One line each for people, and the same for programs. */
export function describeAttestations(found: ReadonlyMap<AttestationKind, Uint8Array>): {
  readonly lines: readonly string[];
  readonly json: { readonly [kind: string]: unknown };
} {
  const lines: string[] = [];
  const json: { [kind: string]: unknown } = {};
  for (const [kind, bytes] of found) {
    const sha256 = sha256Hex(bytes);
    const facts = kind === "sbom" ? parseSbom(bytes) : parseProvenance(bytes);
    json[kind] = { sha256, length: bytes.length, ...facts };
    const said =
      "components" in facts
        ? `${facts.format}, ${facts.components} ${facts.components === 1 ? "component" : "components"}`
        : [facts.source, facts.commit, facts.builder].map((each) => each ?? "-").join(", ");
    lines.push(`${kind}: ${said} (SHA-256 ${sha256})`);
  }
  return { lines, json };
}

/** The document itself, for other tools. Throws `cli/usage` when there is none. */
export function oneAttestation(found: ReadonlyMap<AttestationKind, Uint8Array>, kind: string): string {
  const bytes = found.get(kind as AttestationKind);
  if (bytes === undefined) throw usage(`No ${kind} was published with this release.`);
  return fromUtf8(bytes).trimEnd();
}
