// How a client's calls fail, in the words of the failover table (`signing/failover.ts`).

import { SigningError } from "../../signing/errors.ts";
import type { Failure } from "../../signing/wire/failover.ts";
import { tooOld, type Feature } from "../../signing/wire/versions.ts";
import { Lost, SignerAnswer, SignInRefused, type Conversation } from "./conversation.ts";
import { NoWay } from "./conversations.ts";

/** This signer has no such certificate for this user, or another key under its name, or is too old for what is asked. */
export class NotHere extends SigningError {}

/** Another signer may be new enough. */
export function refuseTooOld({ signer, version }: Conversation, needed: readonly Feature[]): void {
  const old = tooOld(signer.name, version, needed);
  if (old !== null) throw new NotHere(old.code, old.message, old.facts, { hint: old.hint! });
}

/** What the failover table needs to know of an error; null for one that no other signer and no waiting makes better. */
export function failureOf(error: unknown): Failure | null {
  if (error instanceof NotHere) return { stage: "answered", code: error.code, notHere: true };
  if (error instanceof SignerAnswer) {
    const notHere = error instanceof SignInRefused;
    return { stage: "answered", code: error.code, unsigned: error.unsigned, notHere };
  }
  if (error instanceof Lost) return { stage: error.sent ? "unanswered" : "unreached", code: error.code };
  if (error instanceof NoWay) {
    return { stage: "unreached", code: error.passes ? "signing/unreachable" : error.code };
  }
  if (error instanceof SigningError && error.code === "signing/unreachable")
    return { stage: "unreached", code: error.code };
  return null;
}

export function nameIn(error: unknown): string | undefined {
  return error instanceof SignerAnswer ? error.signer : undefined;
}

/** Two signatures are worse than none: the one that may exist is named. */
export function unknown(signer: string, request: string | undefined, cause: unknown): SigningError {
  return new SigningError(
    "signing/outcome-unknown",
    `Nobody can say whether ${signer} signed the request ${request ?? ""}: it was sent there, and no answer came before patience ended.`,
    { signer, request: request ?? "" },
    {
      cause,
      hint: `Ask ${signer} again with --signer ${signer} --request-id ${request ?? ""}, or accept a second signature and sign again.`,
    },
  );
}
