// What a signature of a file would be over, by the format's own rules: everything of a signing but the key and the change.

import type { Format, SignJob, ToBeSigned } from "../../../artifact/format.ts";
import type { ByteSink, ByteSource } from "../../../artifact/source.ts";

const NOWHERE: ByteSink = { write: async () => {}, truncate: async () => {} };

/** Thrown where a signature would be made: everything before it was done for real. */
class Seen extends Error {
  readonly what: ToBeSigned;

  constructor(what: ToBeSigned) {
    super("seen");
    this.what = what;
  }
}

/** Whatever signature is there now, unless the mode says otherwise. Errors: those of the format. */
export async function toBeSigned(
  format: Format,
  source: ByteSource,
  job: Pick<SignJob, "hash" | "pageHashes" | "options"> & Partial<Pick<SignJob, "mode">>,
): Promise<ToBeSigned> {
  try {
    await format.sign({
      mode: "replace",
      ...job,
      source,
      sink: NOWHERE,
      makeSignature: (what) => Promise.reject(new Seen(what)),
    });
  } catch (error) {
    if (error instanceof Seen) return error.what;
    throw error;
  }
  throw new Error("a format signed without asking for a signature");
}
