// Content that stayed with its owner: put into a message that was signed over its digest only, and nothing else changed.

import { equalBytes } from "../core/bytes.ts";
import { children, content, encoded, only, parseDer } from "../der/reader.ts";
import { explicit, sequence } from "../der/writer.ts";
import { parseSignedData } from "./cms.ts";
import { ArtifactError } from "./errors.ts";

/**
 * The SignedData with `value` (one encoded element) as its content. The message has to be without content, and every other
 * byte of it stays. Errors: `artifact/bad-signature`.
 */
export function attachContent(cms: Uint8Array, value: Uint8Array): Uint8Array {
  if (parseSignedData(cms).content !== null)
    throw new ArtifactError("artifact/bad-signature", "The signature carries its own content.", {});
  const [type, wrapped] = children(parseDer(cms));
  const body = children(only(wrapped!));
  // RFC 5652 5.1: version, digest algorithms, encapContentInfo.
  const whole = body.map((field, i) =>
    i === 2 ? sequence(content(field), explicit(0, value)) : encoded(field),
  );
  const attached = sequence(encoded(type!), explicit(0, sequence(...whole)));
  const inside = parseSignedData(attached).content;
  if (inside === null || !equalBytes(encoded(inside), value))
    throw new ArtifactError("artifact/bad-signature", "The content does not fit into the signature.", {});
  return attached;
}
