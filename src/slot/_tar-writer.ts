// Writes tar archives for tests, good ones and bad ones.

import { concat, toUtf8 } from "../core/bytes.ts";

export type TarMember = {
  readonly name: string;
  readonly type?: string;
  readonly body?: Uint8Array | string;
  readonly link?: string;
  readonly mode?: number;
  readonly prefix?: string;
  /** Overwrites bytes of the finished header, checksum included afterwards. */
  readonly patch?: (header: Uint8Array) => void;
  readonly checksum?: number;
};

export function tarMember(member: TarMember): Uint8Array {
  const body = typeof member.body === "string" ? toUtf8(member.body) : (member.body ?? new Uint8Array(0));
  const header = new Uint8Array(512);
  const put = (at: number, text: string): void => header.set(toUtf8(text), at);
  put(0, member.name);
  put(100, `${(member.mode ?? 0o644).toString(8).padStart(7, "0")}\0`);
  put(108, "0000000\0");
  put(116, "0000000\0");
  put(124, `${body.length.toString(8).padStart(11, "0")}\0`);
  put(136, "00000000000\0");
  put(156, member.type ?? "0");
  put(157, member.link ?? "");
  put(257, "ustar\u000000");
  put(345, member.prefix ?? "");
  member.patch?.(header);
  put(148, "        ");
  const sum = member.checksum ?? header.reduce((total, byte) => total + byte, 0);
  put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return concat([header, body, new Uint8Array((512 - (body.length % 512)) % 512)]);
}

export function tarOf(members: readonly TarMember[], end = 1024): Uint8Array {
  return concat([...members.map(tarMember), new Uint8Array(end)]);
}

/** One pax record, its length counting itself. */
export function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = Buffer.byteLength(rest) + 1;
  while (String(length).length + Buffer.byteLength(rest) !== length) length++;
  return `${length}${rest}`;
}
