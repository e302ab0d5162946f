// A program that writes an audit log in a database as fast as it can, and says what was acknowledged: to be killed in the middle.
//
//   node log-writer.ts <address> <password file> <private key, PKCS #8 DER in base64>

import { createPrivateKey, createPublicKey, sign } from "node:crypto";
import { writeSync } from "node:fs";
import { systemClock } from "../io/system/clock.ts";
import { writeStore } from "../io/log-store/signer-store.ts";
import { AuditLog } from "../signing/audit/log.ts";
import { noteKeyFromSpki } from "../signing/audit/note.ts";
import { ending } from "./audit-log-suite.ts";

const [url = "", passwordFile = "", secret = ""] = process.argv.slice(2);
const privateKey = createPrivateKey({ key: Buffer.from(secret, "base64"), format: "der", type: "pkcs8" });
const spki = new Uint8Array(createPublicKey(privateKey).export({ type: "spki", format: "der" }));
const store = await writeStore(
  { url, passwordFile },
  { signer: "killed", clock: systemClock, waiting: () => {}, lost: () => process.exit(75) },
);
const { log } = await AuditLog.open({
  disk: store.files,
  clock: systemClock,
  folder: store.folder,
  key: noteKeyFromSpki("test/log", spki),
  sign: async (message) => new Uint8Array(sign(null, message, privateKey)),
});
writeSync(1, "ready\n");
for (let n = log.size; ;) {
  const group = Array.from({ length: 1 + (n % 7) }, () => n++);
  await Promise.all(
    group.map(async (i) => {
      const { index } = await (i % 2 === 0 ? log.append(ending(i)) : log.seal(ending(i)));
      writeSync(1, `${i % 2 === 0 ? "durable" : "covered"} ${index}\n`);
    }),
  );
  if (n % 11 === 0) await log.keep(new Uint8Array(20_000).fill(n));
}
