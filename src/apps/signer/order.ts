// What the keeper tells its children through their standard input: one JSON object, secrets included, then nothing.

import { parseJsonText, type Json } from "../../core/json.ts";
import { checkSchema, z } from "../../core/schema.ts";

const base64 = z.string().check(z.regex(/^[A-Za-z0-9+/]*={0,2}$/));

const keyOrderSchema = z.strictObject({
  kind: z.literal("key"),
  name: z.string(),
  socket: z.string(),
  ticketKey: base64,
  wrapping: base64,
  sealed: z.string(),
  /** The key's table of the configuration. */
  config: z.record(z.string(), z.unknown()),
  /** Origin of the audit log if this is its key: it then signs checkpoints of growing size and nothing else. */
  origin: z.optional(z.string()),
});
const frontOrderSchema = z.strictObject({
  kind: z.literal("front"),
  data: z.string(),
  sockets: z.string(),
  ticketKey: base64,
  sealKey: base64,
  /** For the administrators' codes and entries. */
  adminKey: base64,
  identityWrapping: base64,
  /** The signer ran before: a database that is not there now is waited for. */
  patient: z.boolean(),
});
export type KeyOrder = z.infer<typeof keyOrderSchema>;
export type FrontOrder = z.infer<typeof frontOrderSchema>;

const LIMIT = 256 * 1024;

/** Reads the first line of standard input, and calls `orphaned` when the keeper is gone. */
export async function readOrder<K extends "key" | "front">(
  kind: K,
  orphaned: () => void,
): Promise<K extends "key" ? KeyOrder : FrontOrder> {
  const value = parseJsonText(await firstLine(orphaned));
  return checkSchema((kind === "key" ? keyOrderSchema : frontOrderSchema) as never, value, "order");
}

function firstLine(orphaned: () => void): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    process.stdin.setEncoding("utf8");
    process.stdin.on("data", (part: string) => {
      text += part;
      if (text.length > LIMIT) return reject(new Error("the order is too long"));
      const end = text.indexOf("\n");
      if (end < 0) return;
      const order = text.slice(0, end);
      text = "";
      process.stdin.removeAllListeners("data");
      process.stdin.resume();
      resolve(order);
    });
    process.stdin.on("end", orphaned);
    process.stdin.on("error", orphaned);
  });
}

export function orderText(order: KeyOrder | FrontOrder): string {
  return `${JSON.stringify(order as unknown as Json)}\n`;
}
