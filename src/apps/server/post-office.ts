// The post office: seals what was asked of a device when the device is there to take it, and not before.

import type { Clock } from "../../core/clock.ts";
import { fromHex, toHex } from "../../core/bytes.ts";
import type { DsseSigner } from "../../core/dsse.ts";
import { formatInstant } from "../../core/instant.ts";
import type { Random } from "../../core/random.ts";
import { askOf, ordersFor } from "../../fleet/messages.ts";
import type { MessageOrder } from "../../fleet/records.ts";
import type { Addressee } from "../../io/http/wake-hub.ts";
import { lifeFrom } from "../../message/sealed/body.ts";
import { sealMessage } from "../../message/sealed/form.ts";
import { HPKE_KEY_LENGTH } from "../../keys/hpke.ts";
import type { FleetView } from "./fleet-view.ts";

/** Messages that are sealed before others get their turn. */
const SLICE = 16;

export type PostOfficeParts = {
  readonly view: FleetView;
  /** Signs messages; null where this server has no such key. */
  readonly messenger: DsseSigner | null;
  readonly clock: Clock;
  readonly random: Random;
};

export class PostOffice {
  readonly #parts: PostOfficeParts;
  /** SHA-256 of the repository's first root; null until it was read. */
  #fleet: string | null = null;
  #trusted = false;

  constructor(parts: PostOfficeParts) {
    this.#parts = parts;
  }

  /** Whose messages devices of this fleet believe, by the repository. */
  follow(fleet: string | null, messengers: readonly string[]): void {
    const keyid = this.#parts.messenger?.publicKey.keyid;
    this.#fleet = fleet;
    this.#trusted = keyid !== undefined && messengers.includes(keyid);
  }

  /** True while messages can be sealed here. While not, devices get the bare number. */
  get isOpen(): boolean {
    return this.#trusted && this.#fleet !== null;
  }

  /** Seals and sends what each of these has not been told; says how many messages went out. */
  async deliver(addressees: readonly Addressee[]): Promise<number> {
    const { view, clock } = this.#parts;
    let sent = 0;
    for (const addressee of addressees) {
      if (!this.isOpen) {
        addressee.tell(view.newestWake(addressee));
        continue;
      }
      const due = ordersFor(view.orders, addressee, clock.now(), addressee);
      if (due.length === 0) continue;
      const key = await view.messageKeyOf(addressee.id);
      // A device from before its first check-in with a key.
      if (key === null) {
        addressee.tell(view.newestWake(addressee));
        continue;
      }
      for (const order of due) {
        if (!addressee.send(order.counter, await this.seal(addressee.id, fromHex(key), order))) break;
        sent++;
        if (sent % SLICE === 0) await new Promise((resolve) => setImmediate(resolve));
      }
    }
    return sent;
  }

  /** One message for one device. Errors: `message/cannot-seal`, `key/*`. */
  seal(device: string, key: Uint8Array, order: MessageOrder): Promise<Uint8Array> {
    const { view, clock, random, messenger } = this.#parts;
    const timestamp = view.state?.timestamp;
    return sealMessage(
      {
        to: device,
        id: toHex(random.bytes(16)),
        counter: order.counter,
        ...lifeFrom(clock.now()),
        expires: formatInstant(order.expires),
        ...(timestamp === undefined ? {} : { timestamp }),
        ...askOf(order),
      },
      { key, fleet: this.#fleet! },
      messenger!,
      random.bytes(HPKE_KEY_LENGTH),
    );
  }
}
