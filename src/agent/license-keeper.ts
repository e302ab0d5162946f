// The licenses of one device as the agent drives them: renewed inside the check-in, counted, shown, and proved to programs that run here.

import { fromBase64, fromHex, toBase64, toUtf8 } from "../core/bytes.ts";
import { sha256Hex } from "../core/digest.ts";
import { UpkeepError } from "../core/errors.ts";
import { formatInstant, parseInstant } from "../core/instant.ts";
import { signUsage } from "../license/device-documents.ts";
import type { ClockFlag } from "../license/known-time.ts";
import { unverifiedLease, type Lease } from "../license/lease.ts";
import { proofMessage } from "../license/proof.ts";
import { REVOCATIONS_LIMIT, REVOCATIONS_TARGET } from "../license/revocations.ts";
import { standingOf, type Standing } from "../license/state-table.ts";
import {
  MAX_LICENSES,
  readAnswered,
  readNotEntitled,
  type LicenseAsked,
  type LicenseVerdict,
} from "../message/licenses.ts";
import { missingRight, notEntitled } from "../license/update-gate.ts";
import type { ReleaseManifest } from "../release/manifest.ts";
import { TRUSTED_KEYS_TARGET } from "../release/target-names.ts";
import { TRUSTED_KEYS_LIMIT } from "../release/trusted-keys.ts";
import { LicenseBooks, type LicenseParts } from "./license-books.ts";
import { LicenseWishes, type WishFor } from "./license-wishes.ts";
import type { Licensing, LicensingServer, Releases } from "./ports.ts";

/** Renewals are spread by so much of their interval. */
const SPREAD = 0.1;
/** Names of features that are counted for a product; an application that asks for more is counted no further. */
const COUNTED = 256;

export type ProductStatus = {
  readonly product: string;
  readonly license: string | null;
  readonly customer: string | null;
  readonly seat: { readonly slot: number; readonly of: number } | null;
  readonly lease: string | null;
  readonly renewAfter: string | null;
  readonly standing: Standing;
  readonly clock: ClockFlag | null;
};

type AskedLease = Pick<Lease, "activation" | "rev" | "chainNonce" | "renewAfter" | "issued">;

export class LicenseKeeper implements Licensing {
  /** Asks for every lease, due or not: somebody said that there is news. */
  eager = false;
  readonly #books: LicenseBooks;
  readonly #wishes: LicenseWishes;
  /** Refusals of the last answers, by product. */
  readonly #refusals = new Map<string, LicenseVerdict>();
  #turn: Promise<unknown> = Promise.resolve();
  #changed = false;
  /** Products of which the server has a newer version that does not come with the license. */
  readonly #gates = new Map<string, string>();

  constructor(parts: LicenseParts) {
    this.#books = new LicenseBooks(parts);
    this.#wishes = new LicenseWishes(this.#books);
  }

  /** Reads what is kept. Never throws: without it, programs have their fallback and the agent works as ever. */
  open(): Promise<void> {
    return this.#books.open();
  }

  /** True once it is known who may issue and lease. */
  get ready(): boolean {
    return this.#books.ready;
  }

  /** The running agent's products with a license, or a wish for one. */
  get products(): readonly string[] {
    return [
      ...new Set([
        ...Object.keys(this.#books.state.held),
        ...this.#books.state.wishes.map(({ product }) => product),
      ]),
    ].toSorted();
  }

  follow(releases: Pick<Releases, "document">): Promise<void> {
    return this.#guarded("follow", async () => {
      const keys = await releases.document(TRUSTED_KEYS_TARGET, TRUSTED_KEYS_LIMIT);
      const revoked = await releases
        .document(REVOCATIONS_TARGET, REVOCATIONS_LIMIT)
        .catch((error: unknown) => {
          // Most repositories have none.
          if (error instanceof UpkeepError) return null;
          throw error;
        });
      const files = new Map([[TRUSTED_KEYS_TARGET, keys]]);
      if (revoked !== null) files.set(REVOCATIONS_TARGET, revoked);
      this.#books.trust(files);
      await this.#books.openHeld();
      await this.#books.handOut();
    });
  }

  async ask(): Promise<unknown> {
    let asked: LicenseAsked[] | undefined;
    await this.#guarded("ask", async () => {
      const books = this.#books;
      const { now, reading } = await books.now();
      const due = this.#leases().filter(([product, lease]) => this.eager || this.#isDue(product, lease, now));
      if (due.length === 0) return;
      const held = { ...books.state.held };
      for (const [product] of due)
        held[product] = { ...held[product]!, asked: held[product]!.asked ?? books.ids() };
      // Before it is sent: an answer that gets lost is asked for again by the same id.
      await books.save({ ...books.state, held });
      const { keyid } = books.parts.identity.key.publicKey;
      const boot = sha256Hex(toUtf8(`${keyid} ${reading.boot}`)).slice(0, 32);
      asked = due.slice(0, MAX_LICENSES).map(([product, { activation, rev, chainNonce }]) => ({
        activation,
        rev,
        chainNonce,
        ...held[product]!.asked!,
        boot,
      }));
    });
    return asked;
  }

  async take(answer: unknown): Promise<void> {
    if (answer === undefined) return;
    await this.#guarded("take", async () => {
      for (const one of readAnswered(answer)) {
        const [product] = this.#leases().find(([, { activation }]) => activation === one.activation) ?? [];
        if (product === undefined) continue;
        await this.#books.guarded(`take ${product}`, async () => {
          if (one.lease === undefined)
            return this.#refused(product, one.code ?? "license/later", one.message ?? "");
          const held = this.#books.state.held[product]!;
          const documents = {
            license: one.license === undefined ? fromBase64(held.license) : fromBase64(one.license),
            lease: fromBase64(one.lease),
          };
          await this.#books.accept(product, documents, {
            clientNonce: held.asked?.clientNonce ?? "",
            online: true,
          });
          this.#refusals.delete(product);
        });
      }
      await this.#books.handOut();
    });
  }

  settle(server: LicensingServer, signal: AbortSignal): Promise<void> {
    return this.#guarded("settle", async () => {
      for (const wish of this.#books.state.wishes)
        await this.#books.guarded(`activate ${wish.product}`, async () => {
          const verdict = await this.#wishes.retry(wish, server, signal);
          if (verdict !== null) this.#refused(wish.product, verdict.code ?? "license/later", verdict.message);
        });
      const receipts = this.#books.state.receipts.map(fromBase64);
      const usage = this.eager || this.#changed ? await this.#usage() : [];
      if (receipts.length + usage.length === 0) return;
      await server.report({ receipts, usage }, signal);
      this.#changed = false;
      // Whatever the verdict: what is refused now is refused again.
      if (receipts.length > 0) await this.#books.save({ ...this.#books.state, receipts: [] });
    });
  }

  /** Wants a license on this device; without a server it is asked for at the next check. Errors: `license/*`, `server/*`, `mirror/*`. */
  activate(wish: WishFor, server: LicensingServer | undefined, signal: AbortSignal): Promise<ProductStatus> {
    return this.#inTurn(async () => {
      await this.#wishes.activate(wish, server, signal);
      this.#refusals.delete(wish.product);
      return this.status(wish.product);
    });
  }

  /** The request as a file, for a device that reaches no server. Errors: `disk/*`. */
  request(wish: WishFor): Promise<Uint8Array> {
    return this.#inTurn(() => this.#wishes.request(wish));
  }

  /** A lease that came by file. Errors: `dsse/*`, `license/*`, `schema/invalid`. */
  bring(bytes: Uint8Array): Promise<ProductStatus> {
    return this.#inTurn(async () => this.status(await this.#wishes.bring(bytes)));
  }

  /** Gives the seat back. Errors: `license/none`, `license/transfer-limit`, `disk/*`. */
  release(product: string, server: LicensingServer | undefined, signal: AbortSignal): Promise<Uint8Array> {
    return this.#inTurn(() => this.#wishes.release(product, server, signal));
  }

  /** How one product stands now. Never throws. */
  async status(product: string): Promise<ProductStatus> {
    const { now } = await this.#books.now();
    const granted = this.#books.granted.get(product) ?? null;
    const standing = standingOf({ granted, revocations: this.#books.revocations, now, binding: "proved" });
    return {
      product,
      license: granted?.license.id ?? null,
      customer: granted?.license.customer ?? null,
      seat: granted?.lease.seat ?? null,
      lease: granted?.lease.expires ?? null,
      renewAfter: granted?.lease.renewAfter ?? null,
      standing,
      clock: this.#books.clock,
    };
  }

  /** All products, and what is wrong with the whole. */
  async statuses(): Promise<{
    readonly products: readonly ProductStatus[];
    readonly waiting: readonly string[];
    readonly damage: string | null;
    readonly refusals: readonly (LicenseVerdict & { readonly product: string })[];
  }> {
    const products = [];
    for (const product of Object.keys(this.#books.state.held).toSorted())
      products.push(await this.status(product));
    return {
      products,
      waiting: this.#books.state.wishes.map(({ product }) => product),
      damage: this.#books.damage,
      refusals: [...this.#refusals].map(([product, verdict]) => ({ product, ...verdict })),
    };
  }

  /** The signature that shows a program that this device holds the lease's key. */
  async prove(
    product: string,
    nonceHex: string,
  ): Promise<{ readonly spki: string; readonly signature: string }> {
    const { key } = this.#books.parts.identity;
    const signature = await key.sign(proofMessage(product, fromHex(nonceHex)));
    return { spki: toBase64(key.publicKey.spki), signature: toBase64(signature) };
  }

  /** Counts what an application used, and what it asked for in vain; on this device until the next report. */
  async count(product: string, feature: string, granted: boolean): Promise<void> {
    await this.#guarded("count", async () => {
      const held = this.#books.state.held[product];
      if (held === undefined) return;
      const which = granted ? "used" : "refused";
      const before = held[which];
      if (before[feature] === undefined && Object.keys(before).length >= COUNTED) return;
      const next = { ...held, [which]: { ...before, [feature]: (before[feature] ?? 0) + 1 } };
      this.#books.state = { ...this.#books.state, held: { ...this.#books.state.held, [product]: next } };
      this.#changed = true;
    });
  }

  /** Whether a release comes with what is held here. Error: `license/not-entitled`. */
  async admit(manifest: ReleaseManifest): Promise<void> {
    if (manifest.license === undefined || manifest.security) return;
    const { product, standing } = await this.status(manifest.product);
    const updates = this.#books.granted.has(product) ? standing.updates : null;
    const missing = missingRight(manifest, updates);
    if (missing !== null) throw notEntitled(manifest, missing, null);
  }

  /** What the server does not offer for want of a license: shown, and no failure. */
  async noteUpdates(refused: unknown): Promise<void> {
    await this.#guarded("updates", async () => {
      for (const product of this.#gates.keys()) this.#refusals.delete(product);
      this.#gates.clear();
      for (const { product, message } of readNotEntitled(refused)) {
        this.#gates.set(product, message);
        this.#refused(product, "license/not-entitled", message);
      }
    });
  }

  /** Keeps the time that is known, and counters; called now and then. */
  async tick(): Promise<void> {
    if (this.products.length === 0) return;
    await this.#guarded("tick", async () => {
      await this.#books.now();
      await this.#books.save(this.#books.state);
      await this.#books.handOut();
    });
  }

  /** What can be asked for. A lease under a key that counts no more grants nothing, and is good enough to ask for the next. */
  #leases(): readonly (readonly [string, AskedLease])[] {
    return Object.entries(this.#books.state.held).flatMap(([product, held]) => {
      const lease = this.#books.granted.get(product)?.lease ?? unverifiedLease(fromBase64(held.lease));
      return lease === null ? [] : [[product, lease] as const];
    });
  }

  /** A word of the server about one activation. It takes nothing away: only a signed lease does. */
  #refused(product: string, code: string, message: string): void {
    this.#refusals.set(product, { code, message });
    this.#books.parts.world.log({ level: "warn", event: "license-not-renewed", product, code, message });
  }

  #isDue(product: string, lease: AskedLease, now: number): boolean {
    if ((this.#books.state.held[product]?.asked ?? null) !== null) return true;
    const from = parseInstant(lease.renewAfter);
    const spread = (from - parseInstant(lease.issued)) * SPREAD;
    // Each device its own moment, the same one at each look.
    const share = Number.parseInt(lease.chainNonce.slice(0, 8), 16) / 2 ** 32;
    return now >= from - spread * share;
  }

  async #usage(): Promise<readonly Uint8Array[]> {
    const { now } = await this.#books.now();
    const reports: Uint8Array[] = [];
    for (const [product, { lease }] of this.#books.granted) {
      const { used, refused } = this.#books.state.held[product]!;
      const clockSteps = this.#books.state.time?.steps ?? 0;
      if (Object.keys(used).length + Object.keys(refused).length + clockSteps === 0) continue;
      reports.push(
        await signUsage(
          {
            device: lease.device,
            license: lease.license,
            activation: lease.activation,
            used,
            refused,
            clockSteps,
            at: formatInstant(now),
          },
          this.#books.parts.identity.key,
        ),
      );
    }
    return reports;
  }

  /** One at a time, and a fault goes no further than the log. */
  #guarded(what: string, action: () => Promise<void>): Promise<void> {
    return this.#inTurn(() => this.#books.guarded(what, action));
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const run = this.#turn.then(action, action);
    this.#turn = run.catch(() => undefined);
    return run;
  }
}
