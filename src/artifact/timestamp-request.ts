// Asking for a time stamp: several authorities, patience with each, and nothing embedded that was not checked.

import { equalBytes, fromUtf8, toUtf8 } from "../core/bytes.ts";
import type { Clock } from "../core/clock.ts";
import { fraction, type Random } from "../core/random.ts";
import { SECOND } from "../core/instant.ts";
import { hashIdentifier } from "../der/algorithms.ts";
import { canonicalDer } from "../der/ber.ts";
import * as oids from "../der/oids.ts";
import {
  children,
  content,
  encoded,
  Fields,
  parseDer,
  readBits,
  readSmallInteger,
  readString,
  type Der,
} from "../der/reader.ts";
import { BIT_STRING, INTEGER, SEQUENCE } from "../der/tags.ts";
import { boolean, explicit, integer, octets, oid, sequence, unsigned } from "../der/writer.ts";
import type { Certificate } from "../der/x509.ts";
import { parseSignedData, readSignedDataIn } from "./cms.ts";
import { digest, type SigningHash } from "./cms-build.ts";
import { ArtifactError } from "./errors.ts";
import { checkFreshTimestamp } from "./fresh-timestamp.ts";
import { readTstInfo } from "./timestamp.ts";

/** Replies above this are refused; real tokens have 4 to 8 KB. */
export const REPLY_LIMIT = 256 * 1024;

export type TimestampReply = {
  readonly status: number;
  readonly body: Uint8Array;
  /** Seconds, from a Retry-After header. */
  readonly retryAfter?: number;
};

/** How a request reaches an authority. */
export interface TimestampTransport {
  /** Posts `body` and returns what came back, at most `REPLY_LIMIT` bytes; rejects if nothing came within its time limit. */
  post(url: string, contentType: string, body: Uint8Array): Promise<TimestampReply>;
}

export type TimestampWish = {
  /** In order of preference. */
  readonly urls: readonly string[];
  readonly hash: SigningHash;
  readonly transport: TimestampTransport;
  readonly clock: Clock;
  readonly random: Random;
  /** Rounds over all authorities; 3 by default. */
  readonly rounds?: number;
  /** If given, the authority's chain has to end here; otherwise it is checked when the file is verified. */
  readonly roots?: readonly Certificate[];
  /** See `FreshPolicy`. */
  readonly window?: number;
  readonly policies?: readonly string[];
  /** Hears at once what keeps an authority from answering, and that it keeps us waiting. */
  readonly tell?: (what: string) => void;
};

/** No answer in time. An authority that hangs is not asked again: the next time would take as long. */
export class HungError extends Error {}

/**
 * Gets a token over `stamped` (a signature value). An authority that fails is passed over at once; after each round over all of them
 * there is a pause that doubles, with jitter, or as long as an authority asked for. Returns the encoded token.
 * Errors: `artifact/no-timestamp`, with what each authority answered.
 */
export async function requestTimestamp(stamped: Uint8Array, wish: TimestampWish): Promise<Uint8Array> {
  return ask(wish, (url) => askOnce(url, stamped, wish));
}

/** The older Authenticode protocol, for those who need it; see `checkLegacyCountersignature`. Returns the SignerInfo and the authority's certificates, encoded. */
export async function requestLegacyTimestamp(
  stamped: Uint8Array,
  wish: TimestampWish,
): Promise<{ readonly signerInfo: Uint8Array; readonly certificates: readonly Uint8Array[] }> {
  return ask(wish, async (url) => {
    const body = toUtf8(Buffer.from(legacyRequest(stamped)).toString("base64"));
    const reply = accept(await wish.transport.post(url, "application/octet-stream", body));
    const signed = parseSignedData(
      canonicalDer(new Uint8Array(Buffer.from(fromUtf8(reply).trim(), "base64"))),
    );
    const [signer, ...others] = signed.signers;
    if (signer === undefined || others.length > 0)
      throw refused("the countersignature has not exactly one signer");
    return {
      signerInfo: signer.der,
      certificates: signed.certificates.map((certificate) => certificate.der),
    };
  });
}

async function ask<T>(wish: TimestampWish, once: (url: string) => Promise<T>): Promise<T> {
  const problems: string[] = [];
  const rounds = wish.rounds ?? 3;
  const hung = new Set<string>();
  for (let round = 0; round < rounds; round++) {
    let pause = 0;
    for (const url of wish.urls.filter((each) => !hung.has(each))) {
      try {
        return await once(url);
      } catch (error) {
        if (error instanceof BusyError) pause = Math.max(pause, Math.min(error.seconds, 60) * SECOND);
        if (error instanceof HungError) hung.add(url);
        const problem = `${url}: ${error instanceof Error ? error.message : String(error)}`;
        problems.push(problem);
        wish.tell?.(`timestamp authority ${problem}`);
      }
    }
    if (hung.size === wish.urls.length) break;
    const backOff = 2 ** round * SECOND * (0.5 + fraction(wish.random));
    if (round + 1 < rounds) await wish.clock.sleep(Math.max(pause, backOff));
  }
  throw new ArtifactError(
    "artifact/no-timestamp",
    `No timestamp authority gave a usable answer: ${problems.slice(-wish.urls.length).join("; ")}.`,
    { problems: problems.slice(-12) },
    {
      hint: "Name further authorities, or sign again later; a signature without a timestamp dies with its certificate.",
    },
  );
}

async function askOnce(url: string, stamped: Uint8Array, wish: TimestampWish): Promise<Uint8Array> {
  const nonce = wish.random.bytes(8);
  const request = timestampRequest(digest(wish.hash, stamped), wish.hash, nonce);
  const reply = accept(await wish.transport.post(url, "application/timestamp-query", request));
  const token = parseTimestampReply(canonicalDer(reply));
  checkReply(token, stamped, nonce, wish);
  return encoded(token);
}

/** RFC 3161 2.4.1, with a nonce and the wish for certificates. */
export function timestampRequest(imprint: Uint8Array, hash: SigningHash, nonce: Uint8Array): Uint8Array {
  return sequence(
    integer(1),
    sequence(hashIdentifier(hash), octets(imprint)),
    unsigned(nonce),
    boolean(true),
  );
}

/** RFC 3161 2.4.2: the token of a reply that grants it. Errors: `artifact/bad-timestamp`. */
export function parseTimestampReply(der: Uint8Array): Der {
  const fields = new Fields(parseDer(der));
  const status = new Fields(fields.take(SEQUENCE));
  const code = readSmallInteger(status.take(INTEGER));
  const strings = status.optional(SEQUENCE);
  const failure = status.optional(BIT_STRING);
  if (code > 1) {
    const said = strings === null ? "" : `: ${children(strings).map(readString).join(" ").slice(0, 200)}`;
    const bits =
      failure === null ? "" : ` (failure bits ${Buffer.from(readBits(failure).bits).toString("hex")})`;
    throw refused(`the authority refuses with status ${code}${said}${bits}`);
  }
  const token = fields.take(SEQUENCE);
  fields.done();
  return token;
}

/** What comes back has to be about what was asked, now. */
function checkReply(value: Der, stamped: Uint8Array, nonce: Uint8Array, wish: TimestampWish): void {
  const token = readSignedDataIn(value);
  const info = readTstInfo(token);
  const sent = content(parseDer(unsigned(nonce)));
  // RFC 3161 2.4.2: the nonce comes back as it was sent, or the reply is an old one.
  if (info.nonce === null || !equalBytes(info.nonce, sent))
    throw refused("the reply carries another nonce: it is an old one, played back");
  if (info.hash !== wish.hash || !equalBytes(info.imprint, digest(wish.hash, stamped)))
    throw refused("the reply is about something else");
  checkFreshTimestamp(value, stamped, {
    roots: wish.roots ?? null,
    now: wish.clock.now(),
    ...(wish.window === undefined ? {} : { window: wish.window }),
    ...(wish.policies === undefined ? {} : { policies: wish.policies }),
  });
}

/** SPC_TIME_STAMP_REQUEST_OBJID over the signature value as pkcs7-data. */
function legacyRequest(stamped: Uint8Array): Uint8Array {
  return sequence(oid("1.3.6.1.4.1.311.3.2.1"), sequence(oid(oids.data), explicit(0, octets(stamped))));
}

class BusyError extends Error {
  readonly seconds: number;
  constructor(message: string, seconds: number) {
    super(message);
    this.seconds = seconds;
  }
}

function accept(reply: TimestampReply): Uint8Array {
  if (reply.status === 200) {
    if (reply.body.length > REPLY_LIMIT) throw refused("the reply is too large");
    return reply.body;
  }
  throw new BusyError(`HTTP status ${reply.status}`, reply.retryAfter ?? 0);
}

function refused(what: string): ArtifactError {
  return new ArtifactError("artifact/bad-timestamp", what, {});
}
