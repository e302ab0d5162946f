// A client's sessions: one at a time for each signer, made when needed through whichever gateway serves.

import { SECOND } from "../../core/instant.ts";
import { fraction, type Random } from "../../core/random.ts";
import type { ServiceDescription } from "../../signing/wire/description.ts";
import { SigningError, type SigningErrorCode } from "../../signing/errors.ts";
import type { Want } from "../../signing/wire/failover.ts";
import type { SignIn } from "../../signing/wire/protocol.ts";
import type { Proxies } from "../connection/proxies.ts";
import { openConversation, SignerAnswer, SILENCE, type Conversation } from "./conversation.ts";
import type { Identity } from "./pinned-tls.ts";

export type LinePorts = {
  readonly random: Random;
  readonly service: ServiceDescription;
  readonly identity: Identity;
  /** None by default. */
  readonly proxies?: Proxies;
  readonly signIn: (signer: string) => Promise<SignIn>;
  /** Milliseconds without a sign of life before a session counts as lost. */
  readonly silence?: number;
  /** Hears once of each gateway that does not serve as it should. */
  readonly trouble?: (sentence: string) => void;
};

/** Seconds in a gateway's line: short while other gateways may serve at once, longer when none does. */
const LINE = { first: 1, most: 10 } as const;
/** A gateway that failed is asked last for so long. */
const SHUN = 30 * SECOND;
/** The gravest is what is told when no gateway serves. */
const GRAVITY: readonly SigningErrorCode[] = [
  "signing/wrong-peer",
  "signing/refused",
  "signing/over-budget",
  "signing/bad-frame",
];
/** Another moment may be better for these; a wrong key or a refused identity stays what it is. */
const PASSES: readonly string[] = ["signing/unreachable", "signing/over-budget", "signing/busy"];

type Attempt = { readonly gateway: string; readonly error: SigningError };

/** No gateway led to a signer. `passes`: it may be better later. */
export class NoWay extends SigningError {
  readonly passes: boolean;

  constructor(attempts: readonly Attempt[]) {
    const rank = ({ error }: Attempt): number =>
      (GRAVITY.indexOf(error.code) + GRAVITY.length + 1) % (GRAVITY.length + 1);
    const worst = attempts.toSorted((a, b) => rank(a) - rank(b))[0]!;
    const others = attempts.length - 1;
    super(
      worst.error.code,
      others === 0
        ? worst.error.message
        : `${worst.error.message} (${worst.gateway}; ${others} more did not serve)`,
      {
        ...worst.error.facts,
        gateways: attempts.map(({ gateway, error }) => `${gateway}: ${error.code}`),
      },
      { cause: worst.error, ...(worst.error.hint === undefined ? {} : { hint: worst.error.hint }) },
    );
    this.passes = attempts.some(({ error }) => PASSES.includes(error.code));
  }
}

export class Conversations {
  readonly #ports: LinePorts;
  readonly #ready = new Map<string, Conversation>();
  readonly #all = new Set<Conversation>();
  readonly #making = new Map<string, Promise<void>>();
  readonly #shunned = new Map<string, number>();
  readonly #told = new Set<string>();
  #signInTurn: Promise<unknown> = Promise.resolve();
  #spent = 0;
  #failures = 0;
  #closed = false;

  constructor(ports: LinePorts) {
    this.#ports = ports;
  }

  /** Bytes moved through gateways so far, both ways. */
  get traffic(): number {
    return [...this.#all].reduce((sum, each) => sum + each.traffic, this.#spent);
  }

  /** Runs `work` in a session with a wanted signer. Errors: `NoWay`, `SignerAnswer` of a refused sign-in, and those of `work`. */
  async with<T>(want: Want, work: (conversation: Conversation) => Promise<T>): Promise<T> {
    const conversation = await this.#take(want);
    try {
      return await work(conversation);
    } finally {
      conversation.done();
      if (conversation.broken) this.#shun(conversation.gateway);
    }
  }

  close(): void {
    this.#closed = true;
    for (const each of this.#all) each.close();
  }

  async #take(want: Want): Promise<Conversation> {
    for (;;) {
      if (this.#closed) throw new SigningError("signing/unreachable", "The client was closed.");
      for (const [name, conversation] of this.#ready) {
        if (want.only === undefined ? want.avoid.has(name) : want.only !== name) continue;
        if (conversation.usable) {
          conversation.take();
          return conversation;
        }
        this.#ready.delete(name);
        conversation.retire();
      }
      await this.#makeOneOf(want);
    }
  }

  /** Any signer that a gateway has, unless some are to be avoided: then the others by name, in any order. */
  async #makeOneOf({ only, avoid }: Want): Promise<void> {
    if (only !== undefined || avoid.size === 0) return this.#make(only ?? "*");
    const names = this.#shuffled(
      this.#ports.service.signers.map(({ name }) => name).filter((name) => !avoid.has(name)),
    );
    let last: unknown;
    for (const name of names) {
      try {
        return await this.#make(name);
      } catch (error) {
        last = error;
      }
    }
    throw last ?? new SigningError("signing/unreachable", "No other signer is known.");
  }

  /** Callers who want the same share one attempt. */
  #make(want: string): Promise<void> {
    const known = this.#making.get(want);
    if (known !== undefined) return known;
    const made = this.#dial(want).finally(() => this.#making.delete(want));
    this.#making.set(want, made);
    return made;
  }

  async #dial(want: string): Promise<void> {
    const { service, identity, silence = SILENCE } = this.#ports;
    const attempts: Attempt[] = [];
    const wait = Math.min(LINE.most, LINE.first * 2 ** Math.min(this.#failures, 8));
    for (const gateway of this.#order()) {
      try {
        let open: Conversation | null = null;
        const conversation = await openConversation({
          service,
          gateway,
          want,
          wait,
          identity,
          silence,
          proxies: this.#ports.proxies,
          signIn: (signer) => this.#signIn(signer),
          ended: (traffic) => {
            this.#spent += traffic;
            if (open !== null) this.#all.delete(open);
          },
        });
        if (conversation.broken) throw new SigningError("signing/unreachable", "The session broke at once.");
        this.#failures = 0;
        open = conversation;
        this.#all.add(conversation);
        this.#ready.get(conversation.signer.name)?.retire();
        this.#ready.set(conversation.signer.name, conversation);
        if (this.#closed) conversation.close();
        return;
      } catch (error) {
        // The signer itself said no to the user: no gateway makes that better.
        if (!(error instanceof SigningError)) throw error;
        if (error instanceof SignerAnswer && !PASSES.includes(error.code)) throw error;
        attempts.push({ gateway: gateway.address, error });
        this.#shun(gateway.address);
        this.#tell(gateway.address, error);
      }
    }
    this.#failures++;
    throw new NoWay(attempts);
  }

  /** One at a time: a person may be asked. */
  #signIn(signer: string): Promise<SignIn> {
    const mine = this.#signInTurn.then(() => this.#ports.signIn(signer));
    this.#signInTurn = mine.catch(() => {});
    return mine;
  }

  /** In any order, which spreads the load; those that failed lately come last. */
  #order(): readonly ServiceDescription["gateways"][number][] {
    const now = performance.now();
    const shunned = (address: string): number => ((this.#shunned.get(address) ?? 0) > now ? 1 : 0);
    return this.#shuffled(this.#ports.service.gateways).toSorted(
      (a, b) => shunned(a.address) - shunned(b.address),
    );
  }

  #shun(gateway: string): void {
    this.#shunned.set(gateway, performance.now() + SHUN);
  }

  /** A gateway with another key, or one that refuses this identity, is no matter of the weather: somebody should look. */
  #tell(gateway: string, { code, message }: SigningError): void {
    if (code === "signing/unreachable" || code === "signing/over-budget" || this.#told.has(gateway)) return;
    this.#told.add(gateway);
    this.#ports.trouble?.(`gateway ${gateway}: ${message}`);
  }

  #shuffled<T>(list: readonly T[]): T[] {
    return list
      .map((item) => ({ item, at: fraction(this.#ports.random) }))
      .toSorted((a, b) => a.at - b.at)
      .map(({ item }) => item);
  }
}
