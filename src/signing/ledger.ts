// What the audit log says about now: requests in flight, approvals given, counters, things that may be used once.

import { HOUR, parseInstant, type Instant } from "../core/instant.ts";
import type { GivenApproval } from "./approval.ts";
import type { AuditEntry, EntryOf } from "./audit/entry.ts";
import type { Usage } from "./policy.ts";

export type RequestState =
  | { readonly state: "pending"; readonly hash: string; readonly entry: EntryOf<"pending"> }
  | { readonly state: "denied"; readonly hash: string; readonly n: number }
  | { readonly state: "intent"; readonly hash: string; readonly n: number; readonly attempt: number }
  | { readonly state: "failed"; readonly hash: string; readonly code: string; readonly attempt: number }
  | { readonly state: "signed"; readonly hash: string; readonly entry: EntryOf<"result"> };

/** Signed replies can be fetched again this long after the request ended. */
const KEEP_REPLIES = 24 * HOUR;

/** A fold over the log's entries: nothing here is kept anywhere else. */
export class Ledger implements Usage {
  readonly #requests = new Map<string, { state: RequestState; forget: Instant }>();
  readonly #approvals = new Map<string, GivenApproval[]>();
  readonly #used = new Map<string, string>();
  readonly #times = new Map<string, number[]>();
  readonly #reserved = new Map<string, number>();
  /** Places in release lists that were signed, and for which request. */
  readonly #places = new Map<string, string>();
  readonly #intents = new Map<number, EntryOf<"intent">>();

  apply(entry: AuditEntry): void {
    const time = parseInstant(entry.time);
    switch (entry.kind) {
      case "session":
        if (entry.used !== undefined) this.#used.set(entry.used, entry.spki);
        return;
      case "denied":
        return this.#set(
          entry.request,
          { state: "denied", hash: entry.requestHash, n: entry.n },
          time + HOUR,
        );
      case "pending":
        return this.#set(
          entry.request,
          { state: "pending", hash: entry.requestHash, entry },
          parseInstant(entry.expires),
        );
      case "approval": {
        const given = this.#approvals.get(entry.subject) ?? [];
        if (given.some((other) => other.user === entry.user && other.nonce === entry.nonce)) return;
        given.push({
          user: entry.user,
          nonce: entry.nonce,
          decision: entry.decision,
          expires: parseInstant(entry.expires),
        });
        this.#approvals.set(entry.subject, given);
        return;
      }
      case "intent": {
        this.#intents.set(entry.n, entry);
        if (entry.release !== undefined) this.#places.set(entry.release, entry.request);
        const rule = `${entry.certificate}/${entry.rule}`;
        const times = this.#times.get(rule) ?? [];
        // A further attempt at the same request is not a further signature.
        if (entry.attempt === 0) times.push(time);
        this.#times.set(rule, times);
        return this.#set(
          entry.request,
          { state: "intent", hash: entry.requestHash, n: entry.n, attempt: entry.attempt },
          Math.max(parseInstant(entry.expires), time) + KEEP_REPLIES,
        );
      }
      case "result": {
        this.#intents.delete(entry.intent);
        return this.#set(
          entry.request,
          { state: "signed", hash: entry.requestHash, entry },
          time + KEEP_REPLIES,
        );
      }
      case "failed":
      case "abandoned": {
        const intent = this.#intents.get(entry.intent);
        this.#intents.delete(entry.intent);
        if (intent === undefined) return;
        return this.#set(
          entry.request,
          {
            state: "failed",
            hash: intent.requestHash,
            code: entry.kind === "failed" ? entry.code : "signing/key-failed",
            attempt: intent.attempt,
          },
          time + KEEP_REPLIES,
        );
      }
      default:
        return;
    }
  }

  request(id: string): RequestState | undefined {
    return this.#requests.get(id)?.state;
  }

  pending(now: Instant): readonly EntryOf<"pending">[] {
    return [...this.#requests.values()].flatMap(({ state }) =>
      state.state === "pending" && parseInstant(state.entry.expires) > now ? [state.entry] : [],
    );
  }

  approvals(subject: string): readonly GivenApproval[] {
    return this.#approvals.get(subject) ?? [];
  }

  /** Which request took this place of a release's list. */
  placeTaken(place: string): string | undefined {
    return this.#places.get(place);
  }

  /** The key that used this token or code first, if it was used. */
  usedBy(word: string): string | undefined {
    return this.#used.get(word);
  }

  /** Intents without result. */
  openIntents(): readonly EntryOf<"intent">[] {
    return [...this.#intents.values()];
  }

  count(certificate: string, rule: string, since: Instant): number {
    const name = `${certificate}/${rule}`;
    const times = this.#times.get(name) ?? [];
    let low = 0;
    for (let high = times.length; low < high;) {
      const middle = (low + high) >> 1;
      if (times[middle]! > since) high = middle;
      else low = middle + 1;
    }
    return times.length - low + (this.#reserved.get(name) ?? 0);
  }

  /** Counts a signature that was allowed but has no intent yet, so that parallel requests can't pass one limit together. */
  reserve(certificate: string, rule: string): () => void {
    const name = `${certificate}/${rule}`;
    this.#reserved.set(name, (this.#reserved.get(name) ?? 0) + 1);
    let held = true;
    return () => {
      if (held) this.#reserved.set(name, this.#reserved.get(name)! - 1);
      held = false;
    };
  }

  /** Drops what can't matter any more. */
  forget(now: Instant): void {
    for (const [id, { forget }] of this.#requests) if (forget < now) this.#requests.delete(id);
    for (const [subject, given] of this.#approvals) {
      if (given.every((approval) => approval.expires + KEEP_REPLIES < now)) this.#approvals.delete(subject);
    }
  }

  #set(id: string, state: RequestState, forget: Instant): void {
    this.#requests.delete(id);
    this.#requests.set(id, { state, forget });
  }
}
