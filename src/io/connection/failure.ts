// The one translation of failed connections: what node:net, node:tls, DNS and proxies report becomes unreachable, slow or untrusted, with a place and a hint.

import { UNREACHABLE, UpkeepError, type Traits } from "../../core/errors.ts";
import { formatInstant } from "../../core/instant.ts";

/** `facts` hold `host`, `port`, `reason` (the system's own word), and `proxy` when it was the proxy that failed. */
export type ConnectionErrorCode =
  /** No connection, or one that was cut. */
  | "network/unreachable"
  /** Nothing came in time. */
  | "network/slow"
  /** Who answers did not prove to be who is meant, or does not accept who asks. */
  | "network/untrusted";

export const CONNECTION_ERRORS = {
  "network/unreachable": UNREACHABLE,
  "network/slow": UNREACHABLE,
  // Somebody else may answer the next time: what is asked for was not judged.
  "network/untrusted": { nature: "transient", exit: "refused" },
} satisfies Traits<ConnectionErrorCode>;

export class ConnectionError extends UpkeepError<ConnectionErrorCode> {
  protected override get traits(): Traits<ConnectionErrorCode> {
    return CONNECTION_ERRORS;
  }

  /** Which of the three it is, for the codes of the room that asked. */
  get kind(): "unreachable" | "slow" | "untrusted" {
    return this.code.slice("network/".length) as "unreachable" | "slow" | "untrusted";
  }

  /** What happened, as a clause without an end, for sentences that name the place themselves. */
  readonly what: string;

  constructor(code: ConnectionErrorCode, place: Place, failed: Failed, cause: unknown) {
    const where = placeName(place);
    const proxy = failed.proxy === undefined ? {} : { proxy: failed.proxy };
    super(
      code,
      `${where} ${SENTENCES[code]}: ${failed.what}.`,
      { host: place.host, port: place.port, reason: failed.reason, ...proxy },
      { cause, hint: failed.hint },
    );
    this.what = failed.what;
  }
}

export type Place = { readonly host: string; readonly port: number };

/** `host:port`, an IPv6 address in brackets. */
export function placeName({ host, port }: Place): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Where an http or https address leads. */
export function placeOf(url: URL): Place {
  const port = url.port === "" ? (url.protocol === "http:" ? 80 : 443) : Number(url.port);
  return { host: url.hostname.replace(/^\[|\]$/g, ""), port };
}

/** Why a proxy did not let a connection through; thrown by the tunnel, translated like every other cause. */
export class ProxyFailure extends Error {
  readonly proxy: string;
  readonly kind: "unreachable" | "slow" | "untrusted";
  readonly reason: string;
  readonly hint: string;

  constructor(
    proxy: string,
    kind: ProxyFailure["kind"],
    what: string,
    reason: string,
    hint: string,
    cause?: unknown,
  ) {
    super(what, { cause });
    this.proxy = proxy;
    this.kind = kind;
    this.reason = reason;
    this.hint = hint;
  }
}

/** For errors of one's own that say: this is not who was meant. */
export const NOT_THE_PINNED_KEY = "ERR_UPKEEP_PIN";

const SENTENCES: { readonly [code in ConnectionErrorCode]: string } = {
  "network/unreachable": "cannot be reached",
  "network/slow": "did not answer in time",
  "network/untrusted": "cannot be trusted",
};

type Failed = {
  readonly what: string;
  readonly hint: string;
  readonly reason: string;
  readonly proxy?: string;
};
type Row = readonly [codes: RegExp, code: ConnectionErrorCode, what: string, hint: string];

const IN_BETWEEN =
  "If a proxy or a firewall opens TLS on the way, it has to let this connection pass unopened.";

/** First match wins. The codes are those of Node.js (errors, dns, tls) and of OpenSSL's X509_verify_cert_error_string. */
const ROWS: readonly Row[] = [
  [
    /^ECONNREFUSED$/,
    "network/unreachable",
    "nothing listens there",
    "Is it running, and are host and port right?",
  ],
  [
    /^(?:ENOTFOUND|EAI_NONAME|EAI_NODATA|ENODATA)$/,
    "network/unreachable",
    "no such name is known",
    "Is the name spelled right, and does this machine's name service (DNS) know it?",
  ],
  [
    /^(?:EAI_\w+|ESERVFAIL|EREFUSED|ETIMEOUT|ENOTIMP)$/,
    "network/unreachable",
    "the name cannot be looked up now",
    "The name service (DNS) of this machine does not answer.",
  ],
  [
    /^(?:EHOSTUNREACH|ENETUNREACH|ENETDOWN|EHOSTDOWN|EADDRNOTAVAIL|EAFNOSUPPORT)$/,
    "network/unreachable",
    "there is no way to it from here",
    "Look at the network of this machine and at its routes.",
  ],
  [
    /^(?:EMFILE|ENFILE|ENOBUFS|ENOMEM)$/,
    "network/unreachable",
    "this machine has no room for another connection",
    "Raise the limit of open files of this program, or find out what holds them.",
  ],
  [
    /^(?:EACCES|EPERM)$/,
    "network/unreachable",
    "this machine does not let the program connect there",
    "A firewall or a sandbox on this machine forbids it.",
  ],
  [
    /^(?:ETIMEDOUT|ESOCKETTIMEDOUT|ERR_SOCKET_CONNECTION_TIMEOUT|ERR_TLS_HANDSHAKE_TIMEOUT|TimeoutError|UND_ERR_\w*TIMEOUT)$/,
    "network/slow",
    "nothing came in time",
    "Firewalls that drop packets look like this: is the port open on the whole way?",
  ],
  [
    /^CERT_HAS_EXPIRED$/,
    "network/untrusted",
    "its certificate has expired, if it is NOW as this machine's clock says: either that clock is wrong, or the server was not restarted in time",
    "Compare this machine's clock, then look at the certificate.",
  ],
  [
    /^CERT_NOT_YET_VALID$/,
    "network/untrusted",
    "its certificate is not valid yet, if it is NOW as this machine's clock says: either that clock is wrong, or the server's is",
    "Compare the clocks of both machines.",
  ],
  [
    /^(?:ERR_TLS_CERT_ALTNAME_\w+|HOSTNAME_MISMATCH)$/,
    "network/untrusted",
    "its certificate is for another name: either somebody stands in between, or the server is meant to be asked by another name",
    "Ask it by a name that is among the subject alternative names of its certificate.",
  ],
  [
    new RegExp(`^${NOT_THE_PINNED_KEY}$`),
    "network/untrusted",
    "no certificate in the server's chain has a pinned key: either you are under attack, or the server's keys were replaced",
    IN_BETWEEN,
  ],
  [
    /^(?:UNABLE_TO_\w+|SELF_SIGNED\w*|DEPTH_ZERO\w*|CERT_SIGNATURE_FAILURE|CERT_UNTRUSTED|INVALID_CA)$/,
    "network/untrusted",
    "its certificate comes from no authority that is trusted here: either somebody stands in between, or the server's authority is another one",
    IN_BETWEEN,
  ],
  [
    /^ERR_SSL_\w*(?:CERTIFICATE|UNKNOWN_CA|ACCESS_DENIED)\w*$/,
    "network/untrusted",
    "it does not accept the certificate of this machine",
    "The other side's log says why.",
  ],
  // What answers in the clear, be it a web server or a login page of a hotel.
  [
    /^(?:ERR_SSL_WRONG_VERSION_NUMBER|ERR_SSL_PACKET_LENGTH_TOO_LONG|ERR_SSL_HTTP_REQUEST|ERR_SSL_UNKNOWN_PROTOCOL|ERR_SSL_BAD_RECORD_TYPE|ERR_SSL_RECORD_LAYER_FAILURE|EPROTO)$/,
    "network/unreachable",
    "what answers there does not speak TLS",
    "Is it the right port? Behind a login page of the network, log in first.",
  ],
  [
    /^(?:ERR_SSL_\w*PROTOCOL\w*|ERR_SSL_\w*VERSION\w*)$/,
    "network/untrusted",
    "it does not speak TLS 1.3",
    "The other side, or what stands in between, is too old.",
  ],
  [
    /^(?:CERT_\w+|PATH_LENGTH\w*|INVALID_PURPOSE|ERR_TLS_\w+|ERR_SSL_\w+|CRL_\w+)$/,
    "network/untrusted",
    "its certificate or its TLS cannot be trusted",
    IN_BETWEEN,
  ],
  [
    /^(?:ECONNRESET|ECONNABORTED|EPIPE|ERR_STREAM_PREMATURE_CLOSE|ERR_SOCKET_CLOSED)$/,
    "network/unreachable",
    "the connection was cut",
    "Either what listens there is no server of this kind, or a firewall on the way cuts it, or the server does not accept this machine's certificate: its log says which.",
  ],
];

/** Translates what a connection to `place` failed by. An error that was translated stays as it is. `now`: what this machine's clock says. */
export function connectionError(cause: unknown, place: Place, now = Date.now()): ConnectionError {
  if (cause instanceof ConnectionError) return cause;
  const proxy = inChain(cause, (error) => error instanceof ProxyFailure);
  if (proxy instanceof ProxyFailure) {
    const { kind, message: what, reason, hint, proxy: name } = proxy;
    return new ConnectionError(`network/${kind}`, place, { what, reason, hint, proxy: name }, cause);
  }
  const reason = reasonOf(cause);
  const row = ROWS.find(([codes]) => codes.test(reason));
  if (row === undefined) {
    const hint = "Look at the network, and at the log of the other side.";
    const what = `the connection failed (${reason})`;
    return new ConnectionError("network/unreachable", place, { what, reason, hint }, cause);
  }
  const [, code, text, hint] = row;
  const what = `${text.replace("NOW", formatInstant(Math.trunc(now / 1000) * 1000))} (${reason})`;
  return new ConnectionError(code, place, { what, reason, hint }, cause);
}

/** The system's word for it: the first code in the chain of causes, else the name or the text of the error. */
function reasonOf(cause: unknown): string {
  const coded = inChain(cause, (error) => typeof codeIn(error) === "string");
  if (coded !== null) return codeIn(coded)!;
  if (!(cause instanceof Error)) return String(cause).slice(0, 200);
  return cause.name === "TimeoutError" ? cause.name : cause.message.slice(0, 200);
}

function codeIn(error: Error): string | undefined {
  if (error instanceof UpkeepError) return undefined;
  const { code } = error as NodeJS.ErrnoException;
  // Every address of a host was tried, and each try has its own reason.
  const tried = error instanceof AggregateError ? (error.errors as unknown[]) : [];
  const first = tried.find((one): one is NodeJS.ErrnoException => one instanceof Error);
  return typeof code === "string" ? code : first?.code;
}

function inChain(cause: unknown, test: (error: Error) => boolean): Error | null {
  let at = cause;
  for (let depth = 0; at instanceof Error && depth < 8; depth++) {
    if (test(at)) return at;
    at = at.cause;
  }
  return null;
}
