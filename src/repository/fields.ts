// Reading members of parsed JSON while collecting every problem with its place.

import { isJsonObject, type Json, type JsonObject } from "../core/json.ts";
import { parseInstant, type Instant } from "../core/instant.ts";
import { NO_EXTRA, type Extra, type Hashes } from "./metadata.ts";

const MAX_PROBLEMS = 20;
/** Digests we rely on, and how many hex digits each has. */
const HEX_LENGTHS: ReadonlyMap<string, number> = new Map([
  ["sha256", 64],
  ["sha512", 128],
]);
const NO_OBJECT: JsonObject = NO_EXTRA;

/** Every reader returns a stand-in after noting a problem; the caller throws once, at the end, if there was any. */
export class Fields {
  readonly problems: string[] = [];
  readonly #path: string[] = [];

  problem(member: string, what: string): void {
    if (this.problems.length >= MAX_PROBLEMS) return;
    const path = [...this.#path, ...(member === "" ? [] : [member])].map((part) => part.slice(0, 80));
    this.problems.push(`${path.length === 0 ? "(whole)" : path.join(".")}: ${what}`);
  }

  /** Runs `action` with `path` in front of the places of its problems. */
  within<T>(path: string, action: () => T): T {
    this.#path.push(path);
    const value = action();
    this.#path.pop();
    return value;
  }

  enter(folder: string, name: string): void {
    this.#path.push(folder, name);
  }

  leave(): void {
    this.#path.length -= 2;
  }

  /** `here`: the path already names the member. */
  object(o: JsonObject, member: string, here = false): JsonObject {
    const value = o[member];
    if (isJsonObject(value)) return value;
    this.problem(here ? "" : member, value === undefined ? "missing" : "expected an object");
    return NO_OBJECT;
  }

  asObject(value: Json): JsonObject {
    if (isJsonObject(value)) return value;
    this.problem("", "expected an object");
    return NO_OBJECT;
  }

  array(o: JsonObject, member: string): readonly Json[] {
    const value = o[member];
    if (Array.isArray(value)) return value as readonly Json[];
    this.problem(member, value === undefined ? "missing" : "expected a list");
    return [];
  }

  string(o: JsonObject, member: string): string {
    return this.asString(o[member], member);
  }

  asString(value: Json | undefined, member: string): string {
    if (typeof value === "string") return value;
    this.problem(member, value === undefined ? "missing" : "expected a text");
    return "";
  }

  boolean(o: JsonObject, member: string): boolean {
    const value = o[member];
    if (typeof value === "boolean") return value;
    this.problem(member, value === undefined ? "missing" : "expected true or false");
    return false;
  }

  /** The strict parser lets safe integers through only. */
  integer(o: JsonObject, member: string, minimum: number): number {
    const value = o[member];
    if (typeof value === "number" && value >= minimum) return value;
    this.problem(member, value === undefined ? "missing" : `expected a whole number from ${minimum}`);
    return minimum;
  }

  instant(o: JsonObject, member: string): Instant {
    const text = this.string(o, member);
    try {
      return parseInstant(text);
    } catch {
      this.problem(member, "expected a UTC time such as 2026-11-21T04:00:00Z");
      return 0;
    }
  }

  /** At least one digest; those we know have their length and are lower-case hex, others are non-empty texts. */
  hashes(o: JsonObject, member: string): Hashes {
    const value = this.object(o, member);
    let count = 0;
    for (const algorithm in value) {
      count++;
      const digest = value[algorithm];
      const digits = HEX_LENGTHS.get(algorithm);
      const good =
        typeof digest === "string" &&
        (digits === undefined ? digest !== "" : digest.length === digits && isHex(digest));
      if (!good) this.problem(`${member}.${algorithm}`, "expected a digest in lower-case hex");
    }
    if (count === 0) this.problem(member, "expected at least one digest");
    return value as Hashes;
  }

  /** Members that are not in `known`. */
  extra(o: JsonObject, known: readonly string[]): Extra {
    let out: { [name: string]: Json } | undefined;
    for (const name in o) {
      if (known.includes(name)) continue;
      out ??= Object.create(null) as { [name: string]: Json };
      out[name] = o[name]!;
    }
    return out ?? NO_EXTRA;
  }
}

function isHex(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (!((c >= 0x30 && c <= 0x39) || (c >= 0x61 && c <= 0x66))) return false;
  }
  return true;
}
