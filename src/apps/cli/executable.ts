// The program `upkeep` as one executable: the command line, and the parts that it starts as processes of their own.

import { PART, type Part } from "../../io/system/own-part.ts";

const PARTS: { readonly [P in Part]: () => Promise<unknown> } = {
  cli: () => import("./main.ts"),
  patch: () => import("../../io/delta/patch-worker.ts"),
  pkcs11: () => import("../../io/keys/pkcs11-worker.ts"),
  "signer-front": () => import("../signer/front.ts"),
  "signer-worker": () => import("../signer/worker.ts"),
};

const [, , word, name] = process.argv;
if (word !== PART) void PARTS.cli();
else if (name !== undefined && Object.hasOwn(PARTS, name)) {
  // The part sees the words behind its name only.
  process.argv.splice(2, 2);
  void PARTS[name as Part]();
} else {
  process.stderr.write(`upkeep: there is no part named ${JSON.stringify(name ?? "")} in this executable\n`);
  process.exitCode = 2;
}
