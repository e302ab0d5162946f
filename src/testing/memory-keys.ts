// Signing keys in this process, behind the same tickets as the real ones: a test makes a key slow, stuck or broken here.

import type { KeyObject } from "node:crypto";
import { systemClock } from "../io/system/clock.ts";
import { systemRandom } from "../io/system/random.ts";
import type { PublicKey } from "../keys/public-key.ts";
import type { Scheme } from "../keys/scheme.ts";
import { localSigner, type Signer } from "../keys/signer.ts";
import { SigningError } from "../signing/errors.ts";
import type { KeyRing } from "../signing/ports.ts";
import { checkTicket, issueTicket, type Ticket } from "../signing/custody/ticket.ts";

export class MemoryKeys implements KeyRing {
  readonly #keys = new Map<string, Signer>();
  readonly #macKey = systemRandom.bytes(32);
  readonly #schemes = new Map<string, readonly Scheme[]>();
  readonly #used = new Map<number, number>();
  readonly replaced: string[] = [];
  /** Signatures really made. */
  made = 0;
  /** Keys whose process is being replaced. */
  readonly away = new Set<string>();
  /** Called before a key is used: a test makes a key slow, stuck or broken here. */
  before: (key: string) => Promise<void> = async () => {};

  add(name: string, key: KeyObject, scheme: Scheme, also: readonly Scheme[] = []): PublicKey {
    const signer = localSigner(key, scheme);
    this.#schemes.set(name, [scheme, ...also]);
    this.#keys.set(name, signer);
    return signer.publicKey;
  }

  signer(name: string): Signer {
    return this.#keys.get(name)!;
  }

  publicKey(key: string): PublicKey | null {
    return this.away.has(key) ? null : this.lastPublicKey(key);
  }

  lastPublicKey(key: string): PublicKey | null {
    return this.#keys.get(key)?.publicKey ?? null;
  }

  issue(key: string, scheme: Scheme, message: Uint8Array, intent: number): Ticket {
    return issueTicket(this.#macKey, { key, scheme, message, intent, now: systemClock.now() });
  }

  async sign(ticket: Ticket, message: Uint8Array): Promise<Uint8Array> {
    const signer = this.#keys.get(ticket.key);
    if (signer === undefined) throw new SigningError("signing/key-unavailable", "There is no such key.");
    await this.before(ticket.key);
    checkTicket(this.#macKey, ticket, {
      key: ticket.key,
      schemes: this.#schemes.get(ticket.key)!,
      message,
      now: systemClock.now(),
      used: this.#used,
    });
    this.made++;
    return signer.sign(message, ticket.scheme);
  }

  replace(key: string): void {
    this.replaced.push(key);
  }
}
