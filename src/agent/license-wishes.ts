// What an owner wants of licenses on a device: activate one, by network or by file, and give a seat back.

import { fromBase64, toBase64, toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { UpkeepError } from "../core/errors.ts";
import { formatInstant } from "../core/instant.ts";
import { parseJson, type Json } from "../core/json.ts";
import { checkSchema, z } from "../core/schema.ts";
import { signActivation, signReceipt, type ActivationRequest } from "../license/device-documents.ts";
import type { Wish } from "../license/device-state.ts";
import { LICENSE_ERRORS, LicenseError, type LicenseErrorCode } from "../license/errors.ts";
import type { LicenseVerdict } from "../message/licenses.ts";
import type { LicenseBooks } from "./license-books.ts";
import type { LicensingServer } from "./ports.ts";

const fileSchema = z.strictObject({
  format: z.literal("upkeep lease file 1"),
  license: z.string(),
  lease: z.string(),
});

export type WishFor = Pick<Wish, "product" | "claim" | "license">;

export class LicenseWishes {
  readonly #books: LicenseBooks;

  constructor(books: LicenseBooks) {
    this.#books = books;
  }

  /** Wants a license on this device; without a server it is asked for at the next check. Errors: `license/*`, `server/*`, `mirror/*`. */
  async activate(wish: WishFor, server: LicensingServer | undefined, signal: AbortSignal): Promise<void> {
    const full = await this.#wish(wish);
    if (server === undefined) throw none(wish.product);
    try {
      await this.fulfil(full, server, signal);
    } catch (error) {
      // A verdict is final; for anything else the wish stays and is tried again.
      if (!isVerdict(error)) throw error;
      await this.#forgetWish(full);
      throw asLicenseError(error as UpkeepError);
    }
  }

  /** The request as a file, for a device that reaches no server. Errors: `disk/*`. */
  async request(wish: WishFor): Promise<Uint8Array> {
    return this.#sign(await this.#wish(wish), null);
  }

  /** A lease that came by file. Errors: `dsse/*`, `license/*`, `schema/invalid`. */
  async bring(bytes: Uint8Array): Promise<string> {
    const file = checkSchema(fileSchema, parseJson(bytes), "lease file");
    const documents = { license: toUtf8(file.license), lease: toUtf8(file.lease) };
    const product = productIn(documents.lease);
    const wish = this.#books.state.wishes.find((one) => one.product === product);
    const held = this.#books.state.held[product];
    const nonce = wish?.clientNonce ?? null;
    if (nonce === null && held === undefined)
      throw new LicenseError(
        "license/wrong-nonce",
        "This device asked for no lease.",
        {},
        { hint: "Make a request first: upkeep agent license request." },
      );
    await this.#books.accept(product, documents, { clientNonce: nonce, online: false });
    if (wish !== undefined) await this.#forgetWish(wish);
    await this.#books.handOut();
    return product;
  }

  /** Gives the seat back: the lease ends here before the receipt leaves. Errors: `license/none`, `license/transfer-limit`, `disk/*`. */
  async release(
    product: string,
    server: LicensingServer | undefined,
    signal: AbortSignal,
  ): Promise<Uint8Array> {
    const granted = this.#books.granted.get(product);
    if (granted === undefined) throw none(product);
    const { now } = await this.#books.now();
    const { lease, leaseSha256 } = granted;
    const receipt = await signReceipt(
      {
        device: lease.device,
        license: lease.license,
        activation: lease.activation,
        lease: leaseSha256,
        seq: lease.seq,
        at: formatInstant(now),
      },
      this.#books.parts.identity.key,
    );
    let delivered = false;
    if (server !== undefined) {
      try {
        const { receipts } = await server.report({ receipts: [receipt], usage: [] }, signal);
        const verdict = receipts[0];
        if (verdict !== undefined && verdict.code === "license/transfer-limit")
          throw new LicenseError("license/transfer-limit", verdict.message, { product });
        delivered = true;
      } catch (error) {
        if (!(error instanceof UpkeepError) || error.code === "license/transfer-limit") throw error;
      }
    }
    const { [product]: _gone, ...held } = this.#books.state.held;
    const waiting = delivered
      ? this.#books.state.receipts
      : [...this.#books.state.receipts, toBase64(receipt)];
    await this.#books.save({ ...this.#books.state, held, receipts: waiting });
    this.#books.granted.delete(product);
    await this.#books.parts.world.disk
      .removeFile(`${this.#books.parts.folder}/${product}.license.json`)
      .catch(ignoreDisk);
    return receipt;
  }

  /** The same at a later check; the server's verdict ends the wish. Errors: of what was no verdict. */
  async retry(wish: Wish, server: LicensingServer, signal: AbortSignal): Promise<LicenseVerdict | null> {
    try {
      await this.fulfil(wish, server, signal);
      return null;
    } catch (error) {
      if (!isVerdict(error)) throw error;
      await this.#forgetWish(wish);
      return { code: verdictCode(error as UpkeepError), message: (error as UpkeepError).message };
    }
  }

  /** Asks the server for a wish that was written down. Errors: `server/*`, `license/*`, `dsse/*`. */
  async fulfil(wish: Wish, server: LicensingServer, signal: AbortSignal): Promise<void> {
    const challenge = await server.challenge(signal);
    const documents = await server.activate(await this.#sign(wish, challenge), signal);
    await this.#books.accept(wish.product, documents, { clientNonce: wish.clientNonce, online: true });
    await this.#forgetWish(wish);
    await this.#books.handOut();
  }

  async #sign(wish: Wish, challenge: string | null): Promise<Uint8Array> {
    const { identity } = this.#books.parts;
    const { claim, license, ...same } = wish;
    const request: ActivationRequest = {
      ...same,
      ...(claim === undefined ? {} : { claim }),
      ...(license === undefined ? {} : { license }),
      device: identity.device,
      cnf: { spkiSha256: sha256Hex(identity.key.publicKey.spki) },
      challenge,
      storage: "software",
      hints: [],
    };
    return signActivation(request, identity.key);
  }

  /** Written before anything is sent: the same wish keeps its id over restarts. */
  async #wish(wish: WishFor): Promise<Wish> {
    const same = this.#books.state.wishes.find(
      (one) => one.product === wish.product && one.claim === wish.claim && one.license === wish.license,
    );
    if (same !== undefined) return same;
    const made: Wish = { ...wish, ...this.#books.ids() };
    const others = this.#books.state.wishes.filter(({ product }) => product !== wish.product);
    await this.#books.save({ ...this.#books.state, wishes: [...others, made] });
    return made;
  }

  async #forgetWish(wish: Wish): Promise<void> {
    await this.#books.save({
      ...this.#books.state,
      wishes: this.#books.state.wishes.filter(({ requestId }) => requestId !== wish.requestId),
    });
  }
}

function none(product: string): LicenseError {
  return new LicenseError(
    "license/none",
    `This device has no license of ${product}.`,
    { product },
    { hint: "Activate one: upkeep agent license activate." },
  );
}

function verdictCode(error: UpkeepError): string {
  return error.code === "server/refused" ? String(error.facts["code"]) : error.code;
}

/** The server's word in the words of this room: what a person reads is about the license. */
function asLicenseError(error: UpkeepError): UpkeepError {
  const code = verdictCode(error);
  const known = Object.hasOwn(LICENSE_ERRORS, code) ? (code as LicenseErrorCode) : "license/unknown";
  return error instanceof LicenseError ? error : new LicenseError(known, error.message, {}, { cause: error });
}

/** True for what the server said about the license; a server that was not reached said nothing. */
export function isVerdict(error: unknown): boolean {
  if (!(error instanceof UpkeepError)) return false;
  const code = verdictCode(error);
  return code.startsWith("license/") && code !== "license/no-lease-key" && code !== "license/later";
}

function productIn(envelope: Uint8Array): string {
  const { payload } = parseJson(envelope) as { readonly payload?: Json };
  const { product } = parseJson(fromBase64(String(payload))) as { readonly product?: Json };
  return String(product);
}

function ignoreDisk(error: unknown): void {
  if (!(error instanceof UpkeepError)) throw error;
}
