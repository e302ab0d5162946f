// A web server as a source of files: TLS as told, ranges checked, no body is decoded that was not asked for so, no redirect leads elsewhere.

import { X509Certificate } from "node:crypto";
import { Agent as HttpAgent, type IncomingMessage } from "node:http";
import type { PeerCertificate, DetailedPeerCertificate } from "node:tls";
import { sha256Hex } from "../../core/digest.ts";
import { MirrorError } from "../../mirror/errors.ts";
import { unzstd } from "./unzstd.ts";
import { checkName, TunnelAgent } from "../connection/connect.ts";
import { wayTo } from "../connection/exchange.ts";
import { connectionError, NOT_THE_PINNED_KEY, placeOf } from "../connection/failure.ts";
import { DIRECT, type Proxies } from "../connection/proxies.ts";
import { checkPath, sourceError, type OpenOptions, type Opened, type Source } from "../../mirror/source.ts";

export type TlsOptions = {
  /** PEM certificates to trust instead of the system's. */
  readonly ca?: string | readonly string[];
  /** This client's own certificate chain and key, PEM. */
  readonly cert?: string;
  readonly key?: string;
  /** Name to ask for and to check, when it is not the one in the address. */
  readonly servername?: string;
  /** SHA-256 (hex) of the SubjectPublicKeyInfo of a certificate that must be in the server's chain; one of them suffices. */
  readonly pins?: readonly string[];
  /** Any server's word is taken for who it is. Only for files whose own signatures are checked, and never with a certificate of one's own. */
  readonly anyServer?: "for signed files only";
  /** TLS 1.3 by default. */
  readonly minVersion?: "TLSv1.2" | "TLSv1.3";
};

export type HttpSourceOptions = {
  readonly tls?: TlsOptions;
  readonly headers?: { readonly [name: string]: string };
  /** Only for copies of signed repositories inside a network that must do without TLS, and for tests. */
  readonly plainHttp?: "allowed";
  /** None by default. */
  readonly proxies?: Proxies;
  /** Redirects followed, within the same origin only. */
  readonly redirects?: number;
};

/** `close` ends idle connections. Errors of `open`: all `MirrorError` codes but `mirror/wrong-content`. */
export function httpSource(address: string, options: HttpSourceOptions = {}): Source & { close(): void } {
  const base = new URL(address.endsWith("/") ? address : `${address}/`);
  // Credentials in an address end up in logs; they belong into headers.
  const name = `${base.origin}${base.pathname}`;
  const plain = base.protocol === "http:" && options.plainHttp === "allowed";
  if ((base.protocol !== "https:" && !plain) || base.search !== "" || base.username !== "") {
    throw sourceError("mirror/bad-path", { name }, "", "its address is not a plain https address");
  }
  const { redirects = 3, headers = {}, proxies = DIRECT } = options;
  const secure = plain ? null : tlsAgent(options.tls ?? {}, proxies);
  const clear = new HttpAgent({ keepAlive: true });
  const place = placeOf(base);

  const get = (url: URL, wanted: OpenOptions): Promise<IncomingMessage> =>
    new Promise((resolve, reject) => {
      const { offset = 0, signal } = wanted;
      // A part of a compressed form would be a part of nothing.
      const coding = offset === 0 && wanted.compressed === "welcome" ? "zstd, identity;q=0.5" : "identity";
      const way = wayTo(url, proxies, secure);
      const outgoing = way.send({
        ...way.options,
        ...(plain && way.extra["host"] === undefined ? { agent: clear } : {}),
        method: "GET",
        headers: {
          ...headers,
          ...way.extra,
          "accept-encoding": coding,
          ...(offset > 0 ? { range: `bytes=${offset}-` } : {}),
        },
      });
      const abort = (): void => void outgoing.destroy(new Error("aborted"));
      outgoing.once("response", (response) => {
        const refused = way.refused(response);
        if (refused === null) return resolve(response);
        response.destroy();
        reject(refused);
      });
      outgoing.on("error", (cause) => reject(way.failed(cause)));
      outgoing.once("close", () => signal?.removeEventListener("abort", abort));
      signal?.addEventListener("abort", abort, { once: true });
      if (signal?.aborted === true) abort();
      outgoing.end();
    });

  async function open(path: string, wanted: OpenOptions): Promise<Opened> {
    const source = { name };
    checkPath(source, path);
    const fail = (code: MirrorError["code"], what: string, cause?: unknown): MirrorError =>
      sourceError(code, source, path, what, { cause });
    const broken = (cause: unknown): MirrorError => {
      if (wanted.signal?.aborted === true)
        return fail("mirror/aborted", "the caller gave up", wanted.signal.reason);
      const { kind, what, facts, hint } = connectionError(cause, place);
      return sourceError(`mirror/${kind}`, source, path, what, { ...facts, cause, hint });
    };

    let url = new URL(path, base.href);
    for (let hop = 0; ; hop++) {
      let answer: IncomingMessage;
      try {
        answer = await get(url, wanted);
      } catch (cause) {
        throw broken(cause);
      }
      const status = answer.statusCode ?? 0;
      const { location } = answer.headers;
      if ([301, 302, 303, 307, 308].includes(status) && location !== undefined) {
        answer.destroy();
        const next = URL.canParse(location, url.href) ? new URL(location, url.href) : null;
        if (next === null || next.origin !== base.origin)
          throw fail("mirror/bad-answer", "it redirects to another place");
        if (hop >= redirects) throw fail("mirror/bad-answer", `it redirects more than ${redirects} times`);
        url = next;
        continue;
      }
      try {
        return accept(answer, status, wanted, fail, broken);
      } catch (error) {
        answer.destroy();
        throw error;
      }
    }
  }

  return { name, open, close: () => (secure?.destroy(), clear.destroy()) };
}

type Fail = (code: MirrorError["code"], what: string, cause?: unknown) => MirrorError;

/** Judges an answer by its head; the body is counted while it is passed on. */
function accept(
  answer: IncomingMessage,
  status: number,
  wanted: OpenOptions,
  fail: Fail,
  broken: (cause: unknown) => MirrorError,
): Opened {
  const { offset = 0, limit } = wanted;
  // Object stores answer 403 for files that are not there.
  if (status === 404 || status === 410 || status === 403)
    throw fail("mirror/not-found", `it is not there (${status})`);
  if (status >= 500 || status === 429 || status === 408)
    throw fail("mirror/unreachable", `the server answered ${status}`);
  if (status !== 200 && status !== 206) throw fail("mirror/refused", `the server answered ${status}`);
  const encoding = answer.headers["content-encoding"] ?? "identity";
  // A compressed body could be a bomb: only where it was asked for, and then within the limit and a small window.
  const compressed = encoding === "zstd" && wanted.compressed === "welcome" && offset === 0 && status === 200;
  if (encoding !== "identity" && !compressed)
    throw fail("mirror/bad-answer", "the body is encoded, which was not asked for");

  const announced = lengthOf(answer.headers["content-length"]);
  if (Number.isNaN(announced)) throw fail("mirror/bad-answer", "its length is not a number");
  let begin = 0;
  let length = announced;
  if (status === 206) {
    const range = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15}|\*)$/.exec(answer.headers["content-range"] ?? "");
    if (offset === 0 || range === null || Number(range[1]) !== offset)
      throw fail("mirror/bad-answer", "it sent another range than the one asked for");
    begin = offset;
    length = range[3] === "*" ? null : Number(range[3]);
    if (length !== null && Number(range[2]) !== length - 1)
      throw fail("mirror/bad-answer", "it sent a part of the range asked for");
  }
  if (length !== null && length > limit)
    throw fail("mirror/too-long", `it is ${length} bytes long, and ${limit} are allowed`);
  const body = bounded(answer, limit - begin, limit, fail, broken);
  if (!compressed) return { offset: begin, length, body };
  // The length is that of the compressed form.
  return { offset: begin, length: null, compressed, body: unzstd(body, limit, fail) };
}

async function* bounded(
  answer: IncomingMessage,
  allowed: number,
  limit: number,
  fail: Fail,
  broken: (cause: unknown) => MirrorError,
): AsyncGenerator<Uint8Array> {
  let got = 0;
  let finished = false;
  try {
    for await (const bytes of answer as AsyncIterable<Uint8Array>) {
      got += bytes.length;
      if (got > allowed) throw fail("mirror/too-long", `it is longer than the allowed ${limit} bytes`);
      yield bytes;
    }
    // A cut connection ends the loop with an error, unless the length was never announced.
    finished = answer.complete;
    if (!finished) throw broken(new Error("the body was cut"));
  } catch (cause) {
    throw cause instanceof MirrorError ? cause : broken(cause);
  } finally {
    // Whoever leaves early wants no further byte: the socket goes.
    if (!finished) answer.destroy();
  }
}

function tlsAgent(tls: TlsOptions, proxies: Proxies): TunnelAgent {
  const { ca, cert, key, servername, pins, anyServer, minVersion = "TLSv1.3" } = tls;
  return new TunnelAgent(
    {
      keepAlive: true,
      minVersion,
      rejectUnauthorized: anyServer === undefined,
      ...(ca === undefined ? {} : { ca: typeof ca === "string" ? ca : [...ca] }),
      ...(cert === undefined || anyServer !== undefined ? {} : { cert }),
      ...(key === undefined || anyServer !== undefined ? {} : { key }),
      ...(servername === undefined ? {} : { servername }),
      checkServerIdentity: (host, peer) =>
        checkName(servername ?? host, peer) ?? (pins === undefined ? undefined : checkPins(peer, pins)),
    },
    proxies,
  );
}

/** One certificate of the chain must have a pinned key. */
function checkPins(peer: PeerCertificate, pins: readonly string[]): Error | undefined {
  const seen = new Set<string>();
  for (
    let at: Partial<DetailedPeerCertificate> | undefined = peer;
    at?.raw !== undefined;
    at = at.issuerCertificate
  ) {
    const id = at.raw.toString("base64");
    if (seen.has(id)) break;
    seen.add(id);
    const spki = new X509Certificate(at.raw).publicKey.export({ type: "spki", format: "der" });
    if (pins.includes(sha256Hex(spki))) return undefined;
  }
  return Object.assign(new Error("no certificate in the server's chain has a pinned key"), {
    code: NOT_THE_PINNED_KEY,
  });
}

/** Null if absent, NaN if malformed. */
function lengthOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  return /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
}
