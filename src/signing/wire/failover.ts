// Which failure of a call may be tried again, and where: the one place that decides it.

import { sha256Hex } from "../../core/digest.ts";
import { toUtf8 } from "../../core/bytes.ts";
import type { SigningErrorCode } from "../errors.ts";

/**
 * `unreached`: the call was never sent to a signer. `unanswered`: it was sent and the connection was lost before an answer.
 * `answered`: the signer itself, over its own inner session, said no.
 */
export type Stage = "unreached" | "unanswered" | "answered";
/** `sign` changes what a signer's log says; `read` changes nothing. */
export type CallKind = "sign" | "read";
/** `anywhere`: any signer may try. `same-signer`: only the one that has it. `not-here`: any but this one. `stop`: nobody. */
export type Move = "anywhere" | "same-signer" | "not-here" | "stop";

export type Failure = {
  readonly stage: Stage;
  readonly code: string;
  /** The signer's answer says that nothing was signed for this request and that nothing is under way. */
  readonly unsigned?: boolean;
  /** It concerns one signer: a sign-in that it refused, a certificate that it does not have. */
  readonly notHere?: boolean;
};

/** What passes with time, or what another signer may do better. */
const TRANSIENT: readonly string[] = [
  "signing/unreachable",
  "signing/busy",
  "signing/over-budget",
  "signing/key-failed",
  "signing/key-unavailable",
  "signing/timestamp-failed",
] satisfies readonly SigningErrorCode[];

type Row = {
  readonly call: CallKind | "any";
  readonly stage: Stage | "any";
  readonly when: (failure: Failure) => boolean;
  readonly move: Move;
};
const transient = ({ code }: Failure): boolean => TRANSIENT.includes(code);
const always = (): boolean => true;

/** First match wins. */
const TABLE: readonly Row[] = [
  // A signer that does not know this user or this certificate: perhaps another one does.
  { call: "any", stage: "any", when: ({ notHere }) => notHere === true, move: "not-here" },
  { call: "any", stage: "unreached", when: transient, move: "anywhere" },
  { call: "any", stage: "unreached", when: always, move: "stop" },
  { call: "read", stage: "unanswered", when: always, move: "anywhere" },
  // Only that signer knows whether it signed.
  { call: "sign", stage: "unanswered", when: always, move: "same-signer" },
  { call: "read", stage: "answered", when: transient, move: "anywhere" },
  { call: "sign", stage: "answered", when: (f) => transient(f) && f.unsigned === true, move: "anywhere" },
  // It failed, but the signer does not vouch that no signature came of it.
  { call: "sign", stage: "answered", when: transient, move: "same-signer" },
  { call: "any", stage: "answered", when: always, move: "stop" },
];

export function moveFor(call: CallKind, failure: Failure): Move {
  return TABLE.find(
    (row) =>
      (row.call === "any" || row.call === call) &&
      (row.stage === "any" || row.stage === failure.stage) &&
      row.when(failure),
  )!.move;
}

/** What to ask for next: `only` when one signer alone may have it, else any but those to avoid. */
export type Want = { readonly only?: string; readonly avoid: ReadonlySet<string> };

/** One call on its way through failures: which signers it may still go to. */
export class Course {
  readonly #call: CallKind;
  readonly #signers: readonly string[];
  readonly #pinned: string | undefined;
  /** Said a definite no that passes with time; asked again when nobody else is left. */
  readonly #avoid = new Set<string>();
  readonly #unfit = new Set<string>();
  #held: string | undefined;

  /** `pinned`: the call is meant for this signer alone. */
  constructor(call: CallKind, signers: readonly string[], pinned?: string) {
    this.#call = call;
    this.#signers = signers;
    this.#pinned = pinned;
  }

  get want(): Want {
    const only = this.#held ?? this.#pinned;
    return { ...(only === undefined ? {} : { only }), avoid: new Set([...this.#avoid, ...this.#unfit]) };
  }

  /** The signer that alone knows the outcome: the request was sent to it and never answered for good. */
  get held(): string | undefined {
    return this.#held;
  }

  /** `at once`: somebody else is asked without waiting. `later`: after a pause. `stop`: this failure is the end. */
  next(failure: Failure, signer: string | undefined): "at once" | "later" | "stop" {
    const move = moveFor(this.#call, failure);
    if (move === "stop") return "stop";
    if (move === "same-signer" && signer !== undefined) this.#held = signer;
    // Once a copy is without answer, no later "no" of the same signer makes another one safe: that copy may still arrive.
    if (this.#held !== undefined) return move === "not-here" ? "stop" : "later";
    if (signer === undefined) {
      // Nobody but those left out for a while could be reached: they may be asked again.
      this.#avoid.clear();
      return "later";
    }
    if (move === "not-here") {
      this.#unfit.add(signer);
      if (this.#pinned !== undefined || this.#signers.every((name) => this.#unfit.has(name))) return "stop";
      return this.#anyLeft() ? "at once" : "later";
    }
    this.#avoid.add(signer);
    return this.#anyLeft() ? "at once" : "later";
  }

  /** Those left out for a while may be asked again if nobody else is left. */
  #anyLeft(): boolean {
    if (this.#pinned === undefined && this.#signers.some((n) => !this.#avoid.has(n) && !this.#unfit.has(n)))
      return true;
    this.#avoid.clear();
    return false;
  }
}

/**
 * The signer that a request id of the caller's own choice belongs to: an earlier run with it went there too, so no other signer is asked.
 * Rendezvous hashing: a signer that joins takes only its own share of ids.
 */
export function homeOf(id: string, signers: readonly string[]): string {
  const weight = (name: string): string => sha256Hex(toUtf8(`${id}\n${name}`));
  return signers.reduce((best, name) => (weight(name) > weight(best) ? name : best));
}
