// What every error of Upkeep has: a stable code, the facts as fields, and a sentence a person can act on.

/** Values an error may carry: plain data, so that `--json` and logs can show them. */
export type Fact = string | number | boolean | null | readonly Fact[] | { readonly [name: string]: Fact };
export type Facts = { readonly [name: string]: Fact };

/**
 * Base of each room's error class. A room declares its closed union of codes and extends this:
 * `export class SlotError extends UpkeepError<SlotErrorCode> {}`.
 * `message` is one sentence; `hint`, when given, says what to do next.
 */
export class UpkeepError<Code extends string = string> extends Error {
  readonly code: Code;
  readonly facts: Facts;
  readonly hint: string | undefined;

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
    this.hint = options.hint;
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

/** Makes an unreachable branch a type error now and a loud failure later. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${String(value)}`);
}
