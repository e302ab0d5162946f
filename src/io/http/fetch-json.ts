// Small JSON documents over HTTPS, bounded in size and time; plain HTTP to this machine only.

import { collect } from "../../core/bytes.ts";
import { parseJson } from "../../core/json.ts";
import { SigningError } from "../../signing/errors.ts";

const LIMIT = 1024 * 1024;
const TIMEOUT = 10_000;

/** Errors: `signing/unreachable`. */
export async function fetchJson(url: string): Promise<unknown> {
  const { protocol, hostname } = new URL(url);
  if (protocol !== "https:" && !["127.0.0.1", "[::1]", "localhost"].includes(hostname)) {
    throw new SigningError("signing/unreachable", `${url} is not HTTPS, so what it says proves nothing.`, {
      url,
    });
  }
  try {
    const response = await fetch(url, {
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT),
      headers: { accept: "application/json" },
    });
    if (!response.ok || response.body === null) throw new Error(`status ${response.status}`);
    return parseJson(await collect(response.body, LIMIT));
  } catch (cause) {
    throw new SigningError("signing/unreachable", `${url} could not be fetched.`, { url }, { cause });
  }
}
