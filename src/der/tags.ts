// Identifier octets of X.690: the universal types in use here and the context-specific ones.

export const BOOLEAN = 0x01;
export const INTEGER = 0x02;
export const BIT_STRING = 0x03;
export const OCTET_STRING = 0x04;
export const NULL = 0x05;
export const OID = 0x06;
export const ENUMERATED = 0x0a;
export const UTF8_STRING = 0x0c;
export const PRINTABLE_STRING = 0x13;
export const TELETEX_STRING = 0x14;
export const IA5_STRING = 0x16;
export const UTC_TIME = 0x17;
export const GENERALIZED_TIME = 0x18;
export const BMP_STRING = 0x1e;
export const UNIVERSAL_STRING = 0x1c;
export const SEQUENCE = 0x30;
export const SET = 0x31;

/** `[n]` of a primitive type, tagged implicitly. */
export const context = (n: number): number => 0x80 | n;
/** `[n]` of a constructed type, or tagged explicitly. */
export const contextOf = (n: number): number => 0xa0 | n;

const NAMES: { readonly [tag: number]: string } = {
  [BOOLEAN]: "BOOLEAN",
  [INTEGER]: "INTEGER",
  [BIT_STRING]: "BIT STRING",
  [OCTET_STRING]: "OCTET STRING",
  [NULL]: "NULL",
  [OID]: "OBJECT IDENTIFIER",
  [ENUMERATED]: "ENUMERATED",
  [UTF8_STRING]: "UTF8String",
  [PRINTABLE_STRING]: "PrintableString",
  [TELETEX_STRING]: "TeletexString",
  [IA5_STRING]: "IA5String",
  [UTC_TIME]: "UTCTime",
  [GENERALIZED_TIME]: "GeneralizedTime",
  [BMP_STRING]: "BMPString",
  [UNIVERSAL_STRING]: "UniversalString",
  [SEQUENCE]: "SEQUENCE",
  [SET]: "SET",
};

/** For sentences: `SEQUENCE`, `[0]`, `tag 0x41`. */
export function tagName(tag: number): string {
  return NAMES[tag] ?? ((tag & 0xc0) === 0x80 ? `[${tag & 0x1f}]` : `tag 0x${tag.toString(16)}`);
}
