// The connections that a signer holds open to its gateways: those of the configuration in force, and those of before that still serve a session.

import { GatewayDialler } from "../../io/signing/signer-dial.ts";
import type { Settings } from "../../signing/service.ts";

type Needs = ConstructorParameters<typeof GatewayDialler>[1];
/** All that a connection needs and the configuration does not say. */
export type DialNeeds = Omit<Needs, "name" | "idle" | "most">;

export class Dialling {
  readonly #needs: DialNeeds;
  #current: readonly GatewayDialler[];
  readonly #retired: GatewayDialler[] = [];

  constructor(settings: Settings, needs: DialNeeds) {
    this.#needs = needs;
    this.#current = this.#dial(settings);
  }

  /** Sessions that run keep running on the old connections; only idle ones are given up. */
  redial(settings: Settings): void {
    const old = this.#current;
    this.#current = this.#dial(settings);
    for (const each of old) each.retire();
    this.#retired.push(...old);
  }

  async review(): Promise<void> {
    await Promise.all(this.#all().map((each) => each.review()));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#all().map((each) => each.stop()));
  }

  #all(): readonly GatewayDialler[] {
    return [...this.#current, ...this.#retired];
  }

  #dial({ config: { service } }: Settings): readonly GatewayDialler[] {
    return service.gateways.map(
      (gateway) =>
        new GatewayDialler(gateway, {
          ...this.#needs,
          name: service.name,
          idle: service.connections,
          most: service["max-sessions"],
        }),
    );
  }
}
