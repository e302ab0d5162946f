// The key that messages to one device are sealed for: the device makes it, and its report key says whose it is.

import { fromBase64, fromHex, toBase64, toHex, toUtf8 } from "../core/bytes.ts";
import { sha256 } from "../core/digest.ts";
import { preAuthEncoding, type DsseSigner, type DsseVerifier } from "../core/dsse.ts";
import { growing } from "../core/growth.ts";
import { instantSchema, z } from "../core/schema.ts";
import { base64Schema } from "./common.ts";

/** The first 16 bytes of the SHA-256 of the public key, hex: what the header of a sealed message names. */
export const keyIdSchema = z.string().check(z.regex(/^[0-9a-f]{32}$/, "expected 32 lower-case hex digits"));

export const messageKeySchema = growing({
  /** X25519, 32 bytes in hex. */
  key: z.string().check(z.regex(/^[0-9a-f]{64}$/, "expected 64 lower-case hex digits")),
  made: instantSchema,
  /** Ed25519 signature by the device's report key over `messageKeyProof`. */
  signature: base64Schema(64),
});
export type MessageKeyStatement = z.infer<typeof messageKeySchema>;

export function messageKeyId(key: Uint8Array): string {
  return toHex(sha256(key).subarray(0, 16));
}

/** What the report key signs: no device gets another's messages. */
function messageKeyProof(device: string, key: string, made: string): Uint8Array {
  return preAuthEncoding("application/vnd.upkeep.message-key.v1", toUtf8(`${device}\n${key}\n${made}\n`));
}

export async function signMessageKey(
  device: string,
  made: string,
  key: Uint8Array,
  reportKey: DsseSigner,
): Promise<MessageKeyStatement> {
  const proof = messageKeyProof(device, toHex(key), made);
  return { key: toHex(key), made, signature: toBase64(await reportKey.sign(proof)) };
}

/** The key, if the report key of this device says so; null for any other statement. */
export function openMessageKey(
  statement: MessageKeyStatement,
  device: string,
  reportKey: Pick<DsseVerifier, "verify">,
): Uint8Array | null {
  const { key, made, signature } = statement;
  return reportKey.verify(messageKeyProof(device, key, made), fromBase64(signature)) ? fromHex(key) : null;
}
