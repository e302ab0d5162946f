// Administrators with a second factor: who they are, which configuration they accepted, all of it read from the audit log.

import { createHmac } from "node:crypto";
import { canonicalJson } from "../../core/canonical-json.ts";
import { equalBytes, toHex, toUtf8 } from "../../core/bytes.ts";
import type { Clock } from "../../core/clock.ts";
import { sha256Hex } from "../../core/digest.ts";
import { MINUTE, parseInstant, type Instant } from "../../core/instant.ts";
import { parseJson, type Json } from "../../core/json.ts";
import type { Random } from "../../core/random.ts";
import { checkSchema, nameSchema, z } from "../../core/schema.ts";
import { fingerprint } from "../../der/x509.ts";
import type { AuditEntry, EntryBody, EntryOf } from "../audit/entry.ts";
import { openWith, purposeKey, sealWith } from "../custody/custody.ts";
import { SigningError } from "../errors.ts";
import type { Settings } from "../service.ts";
import { totpStep, totpUri } from "./totp.ts";

type AdminEntry = EntryOf<"admin">;
type AdminBody = Omit<Extract<EntryBody, { kind: "admin" }>, "kind" | "nonce" | "mac">;
/** Who asks, and the code from the device. */
export type Asking = { readonly admin: string; readonly code: string };

/** So many wrong codes of one administrator in this time, and the next are not looked at: RFC 6238 5.2 by way of RFC 4226 7.3. */
const FAILURES = { most: 5, within: 15 * MINUTE };
export const MAX_ADMINS_FILE = 64 * 1024;

const fileSchema = z.strictObject({
  version: z.literal(1),
  /** The one-time code secret of each, sealed: `nonce.ciphertext`. */
  admins: z.record(nameSchema, z.string().check(z.regex(/^[A-Za-z0-9+/=]{1,64}\.[A-Za-z0-9+/=]{1,256}$/))),
});
/** `admins.json`: sealed secrets only. Which of them count is said by the log; without the file nobody can accept, and nothing else changes. */
export type AdminsFile = z.infer<typeof fileSchema>;
export const NO_ADMINS: AdminsFile = { version: 1, admins: {} };

/** Errors: `schema/invalid`, `json/*`. */
export function parseAdminsFile(bytes: Uint8Array): AdminsFile {
  return checkSchema(fileSchema, parseJson(bytes), "administrators");
}

/** Everything that an acceptance is for: signer.toml, each certificate chain and the roots of time stamps, as one hash. */
export function wholeHash({ sha256, certificates, timestampRoots }: Settings): string {
  const chains: { [name: string]: string } = {};
  for (const [name, { pem }] of certificates) chains[name] = sha256Hex(toUtf8(pem));
  return sha256Hex(
    canonicalJson({
      certificates: chains,
      config: sha256,
      ...(timestampRoots === undefined
        ? {}
        : { timestampRoots: timestampRoots.map((each) => fingerprint(each)) }),
    }),
  );
}

function macOf(key: Uint8Array, body: AdminBody & { readonly nonce: string }): string {
  const { action, admin, by, config, totp, step, reason, nonce } = body;
  const fields = { action, admin, by, config, totp, step, reason, nonce };
  const given = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
  return toHex(
    createHmac("sha256", purposeKey(key, "admin entries"))
      .update(canonicalJson(given as Json))
      .digest(),
  );
}

/** The one-time code secret of an administrator; null if it was sealed for another name or under another secret. `key` is `purposeKey(secret, "admins v1")`. */
export function openAdmin(key: Uint8Array, name: string, sealed: string): Uint8Array | null {
  const [nonce = "", ciphertext = ""] = sealed.split(".");
  return openWith(purposeKey(key, "admin codes"), { nonce, ciphertext }, `admin ${name}`);
}

/** A fold over the log. An entry that does not carry its proof, or comes again, says nothing: whoever can write files can add lines behind the last checkpoint. */
export class AdminLedger {
  readonly #key: Uint8Array;
  readonly #admins = new Map<string, { readonly totp: string; step: number }>();
  readonly #failures = new Map<string, Instant[]>();
  readonly #seen = new Set<string>();
  readonly #kept: AuditEntry[] = [];
  #accepted: string | null = null;

  constructor(key: Uint8Array) {
    this.#key = key;
  }

  apply(entry: AuditEntry): void {
    if (entry.kind !== "admin" || this.#seen.has(entry.nonce)) return;
    if (!equalBytes(toUtf8(macOf(this.#key, entry)), toUtf8(entry.mac))) return;
    this.#seen.add(entry.nonce);
    this.#kept.push(entry);
    const by = this.#admins.get(entry.by);
    if (by !== undefined && entry.step !== undefined) by.step = Math.max(by.step, entry.step);
    switch (entry.action) {
      case "added":
        this.#admins.set(entry.admin, { totp: entry.totp ?? "", step: -1 });
        // The first one takes over what was in force.
        this.#accepted = entry.config ?? this.#accepted;
        return;
      case "removed":
        this.#admins.delete(entry.admin);
        if (this.#admins.size === 0) this.#accepted = null;
        return;
      case "accepted":
        this.#accepted = entry.config ?? null;
        this.#failures.delete(entry.admin);
        return;
      case "refused": {
        const times = this.#failures.get(entry.by) ?? [];
        this.#failures.set(entry.by, [...times.slice(1 - FAILURES.most), parseInstant(entry.time)]);
        return;
      }
    }
  }

  /** Every entry that counted, in order. */
  get kept(): readonly AuditEntry[] {
    return this.#kept;
  }

  get names(): readonly string[] {
    return [...this.#admins.keys()].toSorted();
  }

  /** Whether this configuration may take force: always as long as there is no administrator. */
  allows(config: string): boolean {
    return this.#admins.size === 0 || this.#accepted === config;
  }

  admin(name: string): { readonly totp: string; readonly step: number } | undefined {
    return this.#admins.get(name);
  }

  /** When the next code of this name is looked at. */
  waitUntil(name: string): Instant {
    const times = this.#failures.get(name) ?? [];
    return times.length < FAILURES.most ? 0 : times[0]! + FAILURES.within;
  }
}

export type AdminPorts = {
  readonly clock: Clock;
  readonly random: Random;
  readonly ledger: AdminLedger;
  /** `purposeKey(secret, "admins v1")`. */
  readonly key: Uint8Array;
  /** Appends to the audit log; the entry is durable when this resolves. */
  readonly record: (body: EntryBody) => Promise<AuditEntry>;
  readonly read: () => Promise<AdminsFile>;
  readonly write: (file: AdminsFile) => Promise<void>;
  /** Name of the signer, as an authenticator app shows it. */
  readonly signer: string;
};

/** The one place that looks at an administrator's code. One call after the other: a code is good once. */
export class AdminDesk {
  readonly #ports: AdminPorts;
  #last: Promise<unknown> = Promise.resolve();

  constructor(ports: AdminPorts) {
    this.#ports = ports;
  }

  /**
   * A new administrator; the secret is given out here and never again. The first one needs no code of another, and what is in force then, `config`,
   * counts as accepted. Errors: `signing/exists`, `signing/refused`.
   */
  add(name: string, config: string, by: Asking | null): Promise<{ readonly uri: string }> {
    return this.#inTurn(async () => {
      const { ledger, random, read, write, key, signer } = this.#ports;
      if (ledger.admin(name) !== undefined)
        throw new SigningError("signing/exists", `There is an administrator ${name} already.`, {
          admin: name,
        });
      const first = ledger.names.length === 0;
      const step = first ? undefined : await this.#check(by, `adding ${name}`);
      const secret = random.bytes(20);
      const { nonce, ciphertext } = sealWith(purposeKey(key, "admin codes"), secret, `admin ${name}`, random);
      const sealed = `${nonce}.${ciphertext}`;
      // First the file, then the entry: a secret that no entry names counts for nothing.
      const file = await read();
      await write({ ...file, admins: { ...file.admins, [name]: sealed } });
      await this.#record({
        action: "added",
        admin: name,
        by: first ? "" : by!.admin,
        totp: sha256Hex(toUtf8(sealed)),
        ...(first ? { config } : {}),
        ...(step === undefined ? {} : { step }),
        reason: "",
      });
      return { uri: totpUri(signer, `admin ${name}`, secret) };
    });
  }

  /** With a code of this or another administrator. With the last one every configuration may take force again. Errors: `signing/not-found`, `signing/refused`. */
  remove(name: string, by: Asking | null): Promise<void> {
    return this.#inTurn(async () => {
      const { ledger, read, write } = this.#ports;
      if (ledger.admin(name) === undefined)
        throw new SigningError("signing/not-found", `There is no administrator ${name}.`, { admin: name });
      const step = await this.#check(by, `removing ${name}`);
      await this.#record({ action: "removed", admin: name, by: by!.admin, step, reason: "" });
      const { [name]: _, ...admins } = (await read()).admins;
      await write({ version: 1, admins });
    });
  }

  /** Errors: `signing/refused`. */
  accept(config: string, by: Asking): Promise<void> {
    return this.#inTurn(async () => {
      const step = await this.#check(by, "accepting", config);
      await this.#record({ action: "accepted", admin: by.admin, by: by.admin, config, step, reason: "" });
    });
  }

  /** A configuration that appeared without anybody's code. */
  unasked(config: string): Promise<void> {
    return this.#inTurn(() =>
      this.#record({
        action: "refused",
        admin: "",
        by: "",
        config,
        reason: "it changed and was not accepted",
      }),
    );
  }

  /** The step of a code that is right, was never used, and of an administrator who is not being guessed at. */
  async #check(by: Asking | null, what: string, config?: string): Promise<number> {
    const { ledger, clock, key, read } = this.#ports;
    if (by === null)
      throw new SigningError(
        "signing/refused",
        "It takes a code of an administrator: name one with --admin.",
        {},
      );
    const { admin, code } = by;
    const now = clock.now();
    const wait = ledger.waitUntil(admin);
    if (now < wait) {
      const minutes = Math.ceil((wait - now) / MINUTE);
      throw new SigningError(
        "signing/refused",
        `There were too many wrong codes of ${admin}; the next one is looked at in ${minutes} minutes.`,
        { admin, minutes },
      );
    }
    const known = ledger.admin(admin);
    const sealed = (await read()).admins[admin];
    let step: number | null = null;
    if (known !== undefined && sealed !== undefined && sha256Hex(toUtf8(sealed)) === known.totp) {
      const secret = openAdmin(key, admin, sealed);
      step = secret === null ? null : totpStep(secret, code, now);
    }
    // RFC 6238 5.2: a code is good once, and none that is older than the last one used.
    if (known !== undefined && step !== null && step > known.step) return step;
    const reason = `${what}: ${known === undefined ? "there is no such administrator" : step === null ? "the code is wrong" : "the code was used before"}`;
    await this.#record({
      action: "refused",
      admin,
      by: admin,
      ...(config === undefined ? {} : { config }),
      reason,
    });
    throw new SigningError(
      "signing/refused",
      `The code is not one of ${admin} that may be used now.`,
      { admin },
      {
        hint: "A code is good once: wait for the next one. If this persists, compare the clocks of device and signer.",
      },
    );
  }

  async #record(body: AdminBody): Promise<void> {
    const { random, key, ledger, record } = this.#ports;
    const given = { ...body, nonce: toHex(random.bytes(16)) };
    const entry = await record({ kind: "admin", ...given, mac: macOf(key, given) } as EntryBody);
    ledger.apply(entry as AdminEntry);
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work, work);
    this.#last = mine.catch(() => {});
    return mine;
  }
}

export function notAccepted(config: string, admins: readonly string[]): SigningError {
  return new SigningError(
    "signing/not-accepted",
    "The configuration or a certificate was changed and no administrator has accepted it.",
    { config, admins: [...admins] },
    { hint: 'Read what changed; if it is right: "upkeep signer accept --admin NAME".' },
  );
}
