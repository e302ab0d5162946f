// Which connections go through a proxy: by settings, or by HTTPS_PROXY, HTTP_PROXY and NO_PROXY of the environment.

import { BlockList, isIP } from "node:net";
import { ProxyFailure, type Place } from "./failure.ts";

export type Proxy = Place & {
  /** TLS to the proxy itself. */
  readonly secure: boolean;
  /** Value of Proxy-Authorization: a secret; null without one. */
  readonly authorization: string | null;
  /** For messages: without name and password. */
  readonly name: string;
};

export interface Proxies {
  /** The proxy for a connection to this place; null for a direct one. Errors: `ProxyFailure` when what is set is no address of a proxy. */
  through(kind: "http" | "https", place: Place): Proxy | null;
}

/** No proxy, whatever the environment says. */
export const DIRECT: Proxies = { through: () => null };

export type Environment = { readonly [name: string]: string | undefined };

/** Variables that say where proxies are; the lower-case one goes first, as with other programs. */
export const PROXY_VARIABLES = [
  "https_proxy",
  "HTTPS_PROXY",
  "http_proxy",
  "HTTP_PROXY",
  "no_proxy",
  "NO_PROXY",
] as const;

/** What a child that connects to the outside has to inherit. A proxy's password may be among it. */
export function proxyVariables(environment: Environment = process.env): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of PROXY_VARIABLES) {
    const value = environment[name];
    if (value !== undefined) found[name] = value;
  }
  return found;
}

/** As the environment says. What cannot be read fails the connections that it is meant for, and no others. */
export function proxiesFrom(environment: Environment): Proxies {
  const [https, httpsName] = valueOf(environment, "https_proxy");
  const [http, httpName] = valueOf(environment, "http_proxy");
  const [none] = valueOf(environment, "no_proxy");
  const except = exceptions(none.split(/[\s,]+/));
  const table = { https: [https, httpsName], http: [http, httpName] } as const;
  return {
    through: (kind, place) => {
      const [text, name] = table[kind];
      return text === "" || except(place) ? null : readProxy(text, name);
    },
  };
}

/** One proxy for everything but `except`, as a settings file says. */
export function proxiesAt(address: string, except: readonly string[]): Proxies {
  const skip = exceptions(except);
  return { through: (_kind, place) => (skip(place) ? null : readProxy(address, "proxy")) };
}

function valueOf(environment: Environment, lower: string): readonly [text: string, name: string] {
  for (const name of [lower, lower.toUpperCase()]) {
    const text = environment[name]?.trim() ?? "";
    if (text !== "") return [text, name];
  }
  return ["", lower];
}

/** `http://[name:password@]host[:port]`, `https://…`, or without a scheme, which means http. `from`: what it was read from. */
export function readProxy(text: string, from: string): Proxy {
  const bad = (what: string): ProxyFailure =>
    new ProxyFailure(
      from,
      "unreachable",
      `the proxy that ${from} names cannot be used: ${what}`,
      "bad-proxy",
      `Write it as http://HOST:PORT, or https://HOST:PORT when the proxy itself speaks TLS.`,
    );
  const full = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  if (!URL.canParse(full)) throw bad("it is not an address");
  const { protocol, hostname, port, username, password, pathname, search, hash } = new URL(full);
  if (protocol !== "http:" && protocol !== "https:") throw bad(`${protocol.slice(0, -1)} is not supported`);
  if (hostname === "" || (pathname !== "/" && pathname !== "") || search !== "" || hash !== "")
    throw bad("it holds more than host and port");
  const secure = protocol === "https:";
  let authorization: string | null = null;
  if (username !== "" || password !== "") {
    try {
      // RFC 7617 section 2: the name holds no colon.
      const [name, secret] = [decodeURIComponent(username), decodeURIComponent(password)];
      if (name.includes(":")) throw new Error("colon");
      authorization = `Basic ${Buffer.from(`${name}:${secret}`, "utf8").toString("base64")}`;
    } catch {
      throw bad("its name or password is not percent-encoded");
    }
  }
  const host = hostname.replace(/^\[|\]$/g, "");
  const number = port === "" ? (secure ? 443 : 80) : Number(port);
  return { host, port: number, secure, authorization, name: `${protocol}//${hostname}:${number}` };
}

type Exception = (place: Place) => boolean;

/**
 * What is asked directly: `*`, a host name with everything below it (a leading dot or `*.` makes no difference), an address, a network
 * (`10.0.0.0/8`), each with `:port` if only that port is meant.
 */
export function exceptions(list: readonly string[]): Exception {
  const tests = list.filter((entry) => entry !== "").map(exception);
  return (place) => tests.some((test) => test(place));
}

function exception(entry: string): Exception {
  if (entry === "*") return () => true;
  const withPort = /^(\[[^\]]+\]|[^:]+):(\d{1,5})$/.exec(entry);
  const text = (withPort?.[1] ?? entry).replace(/^\[|\]$/g, "").toLowerCase();
  const port = withPort === null ? null : Number(withPort[2]);
  const host = hostTest(text);
  return (place) =>
    (port === null || place.port === port) && host(place.host.toLowerCase().replace(/\.$/, ""));
}

function hostTest(text: string): (host: string) => boolean {
  const [address, bits] = text.split("/") as [string, string?];
  const version = isIP(address);
  if (version !== 0) {
    const family = version === 4 ? "ipv4" : "ipv6";
    const blocks = new BlockList();
    const width = version === 4 ? 32 : 128;
    if (bits === undefined) blocks.addAddress(address, family);
    else if (/^\d{1,3}$/.test(bits) && Number(bits) <= width) blocks.addSubnet(address, Number(bits), family);
    return (host) => {
      const other = isIP(host);
      return other !== 0 && blocks.check(host, other === 4 ? "ipv4" : "ipv6");
    };
  }
  const name = text.replace(/^\*?\./, "").replace(/\.$/, "");
  return (host) => name !== "" && (host === name || host.endsWith(`.${name}`));
}
