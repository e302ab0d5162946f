// What the signing service needs from outside: keys that sign, a builder of messages, a place for log lines.

import type { PublicKey } from "../keys/public-key.ts";
import type { Scheme } from "../keys/scheme.ts";
import type { Certificate } from "../der/x509.ts";
import type { Operation } from "./request/operation.ts";
import type { Ticket } from "./custody/ticket.ts";

/** Keys that live in processes of their own. */
export interface KeyRing {
  /** Null while its process is not there: it has not answered yet, or is being replaced. */
  publicKey(key: string): PublicKey | null;
  /** What its process last said, also while that is being replaced: what a signer offers does not come and go with it. */
  lastPublicKey(key: string): PublicKey | null;
  issue(key: string, scheme: Scheme, message: Uint8Array, intent: number): Ticket;
  /** Errors: `signing/key-failed`, `signing/bad-ticket`. */
  sign(ticket: Ticket, message: Uint8Array): Promise<Uint8Array>;
  /** The key's process does not answer: end it and start another. */
  replace(key: string): void;
}

export type BuildOrder = {
  readonly operation: Exclude<Operation, { kind: "raw" }>;
  /** Leaf first. */
  readonly chain: readonly Certificate[];
  readonly key: PublicKey;
  readonly scheme: Scheme;
  readonly sign: (message: Uint8Array) => Promise<Uint8Array>;
  /** For a table of page hashes that the request only names: the digest of the indirect data around it. */
  readonly contentDigest?: Uint8Array;
};

/** Builds the CMS message of an order, with its timestamp if it wants one. */
export type Build = (order: BuildOrder) => Promise<{ readonly cms: Uint8Array; readonly timestamp?: string }>;

export type LogLevel = "error" | "warn" | "info";
/** Structured lines for the operator. Never a secret: callers name each field. */
export type Log = (
  level: LogLevel,
  event: string,
  fields?: { readonly [name: string]: string | number | boolean },
) => void;
