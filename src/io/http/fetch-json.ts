// Small JSON documents over HTTPS, bounded in size and time; plain HTTP to this machine only.

import { UpkeepError } from "../../core/errors.ts";
import { parseJson } from "../../core/json.ts";
import { SigningError } from "../../signing/errors.ts";
import { exchange } from "../connection/exchange.ts";
import type { Proxies } from "../connection/proxies.ts";

const LIMIT = 1024 * 1024;
const TIMEOUT = 10_000;

/** Errors: `signing/unreachable`. */
export const fetchJson =
  (proxies: Proxies) =>
  async (url: string): Promise<unknown> => {
    const { protocol, hostname } = new URL(url);
    if (protocol !== "https:" && !["127.0.0.1", "[::1]", "localhost"].includes(hostname)) {
      throw new SigningError("signing/unreachable", `${url} is not HTTPS, so what it says proves nothing.`, {
        url,
      });
    }
    let why: string;
    try {
      const { status, body } = await exchange({
        url,
        headers: { accept: "application/json" },
        limit: LIMIT,
        timeout: TIMEOUT,
        proxies,
      });
      if (status === 200) return parseJson(body);
      why = `the answer has the status ${status}.`;
    } catch (cause) {
      if (!(cause instanceof UpkeepError)) throw cause;
      const { hint, facts } = cause;
      const sentence = `${url} could not be fetched: ${cause.message}`;
      throw new SigningError(
        "signing/unreachable",
        sentence,
        { url, ...facts },
        { cause, ...(hint === undefined ? {} : { hint }) },
      );
    }
    throw new SigningError("signing/unreachable", `${url} could not be fetched: ${why}`, { url });
  };
