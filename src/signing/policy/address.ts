// Source addresses: strict IPv4 and IPv6 spellings, and whether one lies in a network such as 10.0.0.0/8.

import { toHex } from "../../core/bytes.ts";

/** The 16 bytes of an address, IPv4 mapped into IPv6; null if it is not one. */
export function parseAddress(text: string): Uint8Array | null {
  const v4 = /^(?:::ffff:)?(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/i.exec(text);
  if (v4 !== null) {
    const parts = v4.slice(1, 5).map(Number);
    if (parts.some((n, i) => n > 255 || String(n) !== v4[i + 1])) return null;
    return Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ...parts);
  }
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const groups = (half: string): string[] => (half === "" ? [] : half.split(":"));
  const [left, right] = [groups(halves[0]!), groups(halves[1] ?? "")];
  const missing = 8 - left.length - right.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  const all = [...left, ...Array.from({ length: missing }, () => "0"), ...right];
  if (all.some((group) => !/^[0-9a-f]{1,4}$/i.test(group))) return null;
  return new Uint8Array(
    all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 0xff]),
  );
}

export type Network = { readonly base: Uint8Array; readonly bits: number };

/** `address` or `address/prefix`; null if it is neither, or if bits after the prefix are set. */
export function parseNetwork(text: string): Network | null {
  const [address = "", prefix, ...more] = text.split("/");
  const base = parseAddress(address);
  if (base === null || more.length > 0) return null;
  const v4 = address.includes(".");
  const width = v4 ? 32 : 128;
  if (prefix !== undefined && (!/^(0|[1-9]\d{0,2})$/.test(prefix) || Number(prefix) > width)) return null;
  const bits = 128 - width + Number(prefix ?? width);
  for (let i = bits; i < 128; i++) if (bitAt(base, i) === 1) return null;
  return { base, bits };
}

export function inNetwork(address: Uint8Array, { base, bits }: Network): boolean {
  for (let i = 0; i < bits; i++) if (bitAt(address, i) !== bitAt(base, i)) return false;
  return true;
}

/**
 * Whom to count together: an IPv4 address stands for itself, an IPv6 address for its /64, of which one host may use all.
 * What is no address is counted under its own text.
 */
export function addressGroup(text: string): string {
  const bytes = parseAddress(text.split("%")[0]!);
  if (bytes === null) return text;
  const v4 = bytes.subarray(0, 12).every((byte, i) => byte === (i < 10 ? 0 : 0xff));
  return v4 ? [...bytes.subarray(12)].join(".") : `${toHex(bytes.subarray(0, 8))}/64`;
}

function bitAt(bytes: Uint8Array, i: number): number {
  return (bytes[i >> 3]! >> (7 - (i & 7))) & 1;
}
