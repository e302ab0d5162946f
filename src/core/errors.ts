// What every error of Upkeep has: a stable code, the facts as fields, and a sentence a person can act on.

/** Values an error may carry: plain data, so that `--json` and logs can show them. */
export type Fact = string | number | boolean | null | readonly Fact[] | { readonly [name: string]: Fact };
export type Facts = { readonly [name: string]: Fact };

/**
 * What an error means for whoever has to go on.
 * `usage`: the question makes no sense. `refused`: it does not verify or is forbidden, and the same will be refused again.
 * `pending`: others act first. `transient`: the world is in the way (network, space, a clock); the same may work later. `failed`: the rest.
 */
export type Nature = "usage" | "refused" | "pending" | "transient" | "failed";
/** Names of the exit codes of every program; the numbers stand in docs/errors.md. */
export type ExitName = "failed" | "usage" | "refused" | "pending" | "network" | "verify-failed";

/** What is decided by an error's code: nothing else about an error is ever asked, least of all its sentence. */
export type Trait = {
  readonly nature: Nature;
  readonly exit: ExitName;
  /** What helps, unless the error itself knows better. */
  readonly hint?: string;
};
/** One row for each code of a room; the compiler misses none. */
export type Traits<Code extends string> = { readonly [C in Code]: Trait };

export const USAGE: Trait = { nature: "usage", exit: "usage" };
export const REFUSED: Trait = { nature: "refused", exit: "refused" };
/** Of a command whose job is to verify. */
export const NOT_VERIFIED: Trait = { nature: "refused", exit: "verify-failed" };
export const PENDING: Trait = { nature: "pending", exit: "pending" };
export const UNREACHABLE: Trait = { nature: "transient", exit: "network" };
/** In the way on this machine. */
export const TRANSIENT: Trait = { nature: "transient", exit: "failed" };
export const FAILED: Trait = { nature: "failed", exit: "failed" };

/**
 * Base of each room's error class. A room declares its closed union of codes, a trait for each of them, and a class that has both.
 * `message` is one sentence; `hint`, when given, says what to do next.
 */
export abstract class UpkeepError<Code extends string = string> extends Error {
  readonly code: Code;
  readonly facts: Facts;
  readonly hint: string | undefined;

  /** The table of the room; a getter, so that it is there while an error is made. */
  protected abstract get traits(): Traits<Code>;

  constructor(
    code: Code,
    message: string,
    facts: Facts = {},
    options: { cause?: unknown; hint?: string } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.facts = facts;
    this.hint = options.hint ?? this.trait.hint;
  }

  get trait(): Trait {
    return (this.traits as Readonly<Partial<Traits<Code>>>)[this.code] ?? FAILED;
  }

  get nature(): Nature {
    return this.trait.nature;
  }

  /** The form that `--json`, logs and reports carry. Causes are flattened to their sentences. */
  toJSON(): { code: Code; message: string; facts: Facts; hint?: string; causes?: string[] } {
    const causes: string[] = [];
    for (let c: unknown = this.cause; c !== undefined && causes.length < 8;) {
      causes.push(c instanceof Error ? c.message : String(c));
      c = c instanceof Error ? c.cause : undefined;
    }
    return {
      code: this.code,
      message: this.message,
      facts: this.facts,
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      ...(causes.length === 0 ? {} : { causes }),
    };
  }
}

/** An error by the code of a verdict, or of another process; what it means is given by the caller, who knows where it comes from. */
export class ReportedError extends UpkeepError {
  readonly #known: Trait;

  constructor(
    known: Trait | undefined,
    code: string,
    message: string,
    facts: Facts = {},
    options: { cause?: unknown; hint?: string } = {},
  ) {
    super(code, message, facts, options);
    this.#known = known ?? FAILED;
  }

  protected override get traits(): Traits<string> {
    return {};
  }

  override get trait(): Trait {
    return #known in this ? this.#known : FAILED;
  }
}

/** Makes an unreachable branch a type error now and a loud failure later. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${String(value)}`);
}
