// Why a file or a signature was refused, and the findings of a verification that goes on to collect them all.

import { FAILED, REFUSED, UNREACHABLE, UpkeepError, type Facts, type Traits } from "../core/errors.ts";

export type ArtifactErrorCode =
  | "artifact/unknown-format"
  | "artifact/unsupported"
  | "artifact/malformed"
  | "artifact/too-large"
  | "artifact/unreadable"
  | "artifact/changed"
  | "artifact/not-signed"
  | "artifact/already-signed"
  | "artifact/bad-signature"
  | "artifact/bad-certificate"
  | "artifact/bad-key"
  | "artifact/bad-timestamp"
  | "artifact/no-timestamp"
  | "artifact/wrong-publisher"
  | "artifact/refused"
  | "artifact/truncated"
  | "artifact/points-beyond"
  | "artifact/trailing-bytes"
  | "artifact/doubled-signature"
  | "artifact/bad-manifest"
  | "artifact/wrong-product"
  | "artifact/foreign-architecture"
  | "artifact/older-release"
  | "artifact/not-stripped";
export const ARTIFACT_ERRORS = {
  "artifact/unknown-format": REFUSED,
  "artifact/unsupported": REFUSED,
  "artifact/malformed": REFUSED,
  "artifact/too-large": REFUSED,
  "artifact/unreadable": FAILED,
  "artifact/changed": REFUSED,
  "artifact/not-signed": REFUSED,
  "artifact/already-signed": REFUSED,
  "artifact/bad-signature": REFUSED,
  "artifact/bad-certificate": REFUSED,
  "artifact/bad-key": REFUSED,
  "artifact/bad-timestamp": REFUSED,
  "artifact/no-timestamp": UNREACHABLE,
  "artifact/wrong-publisher": REFUSED,
  "artifact/refused": REFUSED,
  "artifact/truncated": REFUSED,
  "artifact/points-beyond": REFUSED,
  "artifact/trailing-bytes": REFUSED,
  "artifact/doubled-signature": REFUSED,
  "artifact/bad-manifest": REFUSED,
  "artifact/wrong-product": REFUSED,
  "artifact/foreign-architecture": REFUSED,
  "artifact/older-release": REFUSED,
  "artifact/not-stripped": REFUSED,
} satisfies Traits<ArtifactErrorCode>;

export class ArtifactError extends UpkeepError<ArtifactErrorCode> {
  protected override get traits(): Traits<ArtifactErrorCode> {
    return ARTIFACT_ERRORS;
  }
}

/** `error`: the signature is not to be believed. `warning`: believed, but look at it. `note`: worth knowing. */
export type Level = "error" | "warning" | "note";

/** One thing that a verifier found. `code` is stable; the sentence may change. */
export type Finding = {
  readonly level: Level;
  readonly code: string;
  readonly message: string;
  readonly facts?: Facts;
};

/** Collects findings in the order in which they are found. */
export class Findings {
  readonly list: Finding[] = [];

  error(code: string, message: string, facts?: Facts): void {
    this.#add("error", code, message, facts);
  }

  warning(code: string, message: string, facts?: Facts): void {
    this.#add("warning", code, message, facts);
  }

  note(code: string, message: string, facts?: Facts): void {
    this.#add("note", code, message, facts);
  }

  get failed(): boolean {
    return hasError(this.list);
  }

  #add(level: Level, code: string, message: string, facts: Facts | undefined): void {
    this.list.push({ level, code, message, ...(facts === undefined ? {} : { facts }) });
  }
}

export function hasError(findings: readonly Finding[]): boolean {
  return findings.some((finding) => finding.level === "error");
}
