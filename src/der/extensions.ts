// Certificate extensions: the ones that decide something are read strictly and can be written.

import { DerError } from "./errors.ts";
import { readName, type Name } from "./names.ts";
import * as oids from "./oids.ts";
import {
  children,
  content,
  encoded,
  Fields,
  only,
  parseDer,
  readBits,
  readBoolean,
  readOctets,
  readOid,
  readSmallInteger,
  type Der,
} from "./reader.ts";
import { BOOLEAN, context, contextOf, INTEGER, OCTET_STRING } from "./tags.ts";
import {
  boolean,
  element,
  explicit,
  ia5,
  implicit,
  integer,
  namedBits,
  octets,
  oid,
  sequence,
} from "./writer.ts";

export type Extension = { readonly oid: string; readonly critical: boolean; readonly value: Uint8Array };

/** RFC 5280 4.2.1.3, bit numbers. */
export const KEY_USAGES = [
  "digitalSignature",
  "nonRepudiation",
  "keyEncipherment",
  "dataEncipherment",
  "keyAgreement",
  "keyCertSign",
  "cRLSign",
  "encipherOnly",
  "decipherOnly",
] as const;
export type KeyUsage = (typeof KEY_USAGES)[number];

/** A SubjectAltName entry. Kinds that nothing here uses are kept as `other`. */
export type AltName =
  | { readonly dns: string }
  | { readonly ip: string }
  | { readonly uri: string }
  | { readonly email: string }
  | { readonly directory: Name }
  | { readonly other: Uint8Array };

/** The fields of `Extensions`; null means the extension is absent. */
export type Extensions = {
  readonly all: readonly Extension[];
  readonly basicConstraints: { readonly ca: boolean; readonly pathLength: number | null } | null;
  readonly keyUsage: ReadonlySet<KeyUsage> | null;
  /** Dotted decimal. */
  readonly extKeyUsage: { readonly critical: boolean; readonly purposes: readonly string[] } | null;
  readonly subjectAltName: readonly AltName[] | null;
  readonly subjectKeyIdentifier: Uint8Array | null;
  readonly authorityKeyIdentifier: Uint8Array | null;
  /** Critical extensions that are not read here; RFC 5280 4.2: a certificate with one is not to be used. */
  readonly unknownCritical: readonly string[];
};

const READ = new Set([
  oids.basicConstraints,
  oids.keyUsage,
  oids.extKeyUsage,
  oids.subjectAltName,
  oids.subjectKeyIdentifier,
  oids.authorityKeyIdentifier,
  oids.certificatePolicies,
]);

/** Reads `Extensions ::= SEQUENCE OF Extension`. Errors: the reader's, `der/bad-certificate` for one that comes twice. */
export function readExtensions(value: Der | null): Extensions {
  const all = value === null ? [] : children(value).map(readExtension);
  const seen = new Set<string>();
  for (const { oid: name } of all) {
    // RFC 5280 4.2: at most one of each.
    if (seen.has(name))
      throw new DerError("der/bad-certificate", `The extension ${name} is there twice.`, { oid: name });
    seen.add(name);
  }
  const get = <T>(name: string, read: (value: Der, critical: boolean) => T): T | null => {
    const found = all.find((extension) => extension.oid === name);
    return found === undefined ? null : read(parseDer(found.value), found.critical);
  };
  return {
    all,
    basicConstraints: get(oids.basicConstraints, readBasicConstraints),
    keyUsage: get(oids.keyUsage, readKeyUsage),
    extKeyUsage: get(oids.extKeyUsage, (list, critical) => ({
      critical,
      purposes: children(list).map(readOid),
    })),
    subjectAltName: get(oids.subjectAltName, (list) => children(list).map(readAltName)),
    subjectKeyIdentifier: get(oids.subjectKeyIdentifier, readOctets),
    authorityKeyIdentifier: get(oids.authorityKeyIdentifier, (sequenceValue) => {
      const id = new Fields(sequenceValue).optional(context(0));
      return id === null ? null : content(id);
    }),
    unknownCritical: all
      .filter((extension) => extension.critical && !READ.has(extension.oid))
      .map((extension) => extension.oid),
  };
}

export function readExtension(value: Der): Extension {
  const fields = new Fields(value);
  const name = readOid(fields.take());
  const critical = fields.nextTag === BOOLEAN && readBoolean(fields.take());
  const bytes = readOctets(fields.take(OCTET_STRING));
  fields.done();
  return { oid: name, critical, value: bytes };
}

function readBasicConstraints(value: Der): { ca: boolean; pathLength: number | null } {
  const fields = new Fields(value);
  const ca = fields.nextTag === BOOLEAN && readBoolean(fields.take());
  const pathLength = fields.nextTag === INTEGER ? readSmallInteger(fields.take()) : null;
  fields.done();
  return { ca, pathLength };
}

function readKeyUsage(value: Der): ReadonlySet<KeyUsage> {
  const { bits } = readBits(value);
  return new Set(KEY_USAGES.filter((_, bit) => ((bits[bit >> 3] ?? 0) & (0x80 >> (bit & 7))) !== 0));
}

/** RFC 5280 4.2.1.6 GeneralName. */
export function readAltName(value: Der): AltName {
  const text = (): string => {
    const bytes = content(value);
    if (bytes.some((byte) => byte < 0x20 || byte > 0x7e))
      throw new DerError(
        "der/bad-certificate",
        "An alternative name has characters outside printable ASCII.",
        {},
      );
    return Buffer.from(bytes).toString("latin1");
  };
  switch (value.tag) {
    case context(1):
      return { email: text() };
    case context(2):
      return { dns: text() };
    case context(6):
      return { uri: text() };
    case context(7):
      return { ip: formatIp(content(value)) };
    case contextOf(4):
      return { directory: readName(only(value)) };
    default:
      return { other: encoded(value) };
  }
}

function formatIp(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length !== 16)
    throw new DerError("der/bad-certificate", `An IP address has ${bytes.length} octets.`, {
      octets: bytes.length,
    });
  const groups = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! << 8) | bytes[2 * i + 1]!);
  // RFC 5952 4.2: the longest run of two or more zero groups becomes "::", the first one if several are as long.
  let [best, length] = [-1, 1];
  for (let i = 0; i < 8; i++) {
    let run = 0;
    while (i + run < 8 && groups[i + run] === 0) run++;
    if (run > length) [best, length] = [i, run];
  }
  const hex = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(":");
  return best < 0 ? hex(groups) : `${hex(groups.slice(0, best))}::${hex(groups.slice(best + length))}`;
}

/** IPv4 or IPv6 text to octets. Errors: `der/bad-value`. */
export function parseIp(text: string): Uint8Array {
  const bad = (): DerError =>
    new DerError("der/bad-value", `"${text.slice(0, 60)}" is not an IP address.`, {
      text: text.slice(0, 60),
    });
  const v4 = (part: string): number[] => {
    const numbers = part
      .split(".")
      .map((number) => (/^(0|[1-9]\d{0,2})$/.test(number) ? Number(number) : 256));
    if (numbers.length !== 4 || numbers.some((number) => number > 255)) throw bad();
    return numbers;
  };
  if (!text.includes(":")) return Uint8Array.from(v4(text));
  const halves = text.split("::");
  if (halves.length > 2) throw bad();
  const bytesOf = (half: string): number[] =>
    half === ""
      ? []
      : half.split(":").flatMap((group, i, groups) => {
          if (i === groups.length - 1 && group.includes(".")) return v4(group);
          if (!/^[0-9a-fA-F]{1,4}$/.test(group)) throw bad();
          const number = Number.parseInt(group, 16);
          return [number >> 8, number & 0xff];
        });
  const [head, tail] = [bytesOf(halves[0]!), bytesOf(halves[1] ?? "")];
  const gap = 16 - head.length - tail.length;
  if (halves.length === 2 ? gap < 2 : gap !== 0) throw bad();
  return Uint8Array.from([...head, ...Array.from({ length: gap }, () => 0), ...tail]);
}

// Writing.

export function writeExtension(name: string, critical: boolean, value: Uint8Array): Uint8Array {
  return critical ? sequence(oid(name), boolean(true), octets(value)) : sequence(oid(name), octets(value));
}

export function writeBasicConstraints(ca: boolean, pathLength?: number): Uint8Array {
  return sequence(...(ca ? [boolean(true)] : []), ...(pathLength === undefined ? [] : [integer(pathLength)]));
}

export function writeKeyUsage(usages: readonly KeyUsage[]): Uint8Array {
  return namedBits(usages.map((usage) => KEY_USAGES.indexOf(usage)));
}

export function writeAltNames(names: readonly AltName[]): Uint8Array {
  return sequence(...names.map(writeAltName));
}

export function writeAltName(name: AltName): Uint8Array {
  if ("dns" in name) return implicit(2, ia5(name.dns));
  if ("uri" in name) return implicit(6, ia5(name.uri));
  if ("email" in name) return implicit(1, ia5(name.email));
  if ("ip" in name) return element(context(7), parseIp(name.ip));
  if ("directory" in name) return explicit(4, name.directory.der);
  return name.other;
}
