// Why a file or a signature was refused, and the findings of a verification that goes on to collect them all.

import { UpkeepError, type Facts } from "../core/errors.ts";

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
export class ArtifactError extends UpkeepError<ArtifactErrorCode> {}

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
