// Asks the people at this machine: lists what is asked, and runs the owner's executable that shows it, one at a time.

import { formatInstant, HOUR, parseInstant, SECOND, type Instant } from "../core/instant.ts";
import { deadlineOf, decide, type Choice } from "../manners/decide.ts";
import { languageOf, promptText, warningText, type Said, type Subject } from "../manners/texts.ts";
import { sentenceOf } from "./errors.ts";
import { promptId, type Looked, type Manners } from "./manners.ts";
import type { World } from "./ports.ts";
import type { Settings } from "./settings.ts";

/** What a person is asked, as commands and programs show it. */
export type Prompt = {
  readonly id: string;
  readonly product: string;
  readonly version: string;
  readonly kind: string;
  readonly since: string;
  readonly deadline: string | null;
  readonly answer: Choice | null;
  readonly answerUntil: string | null;
} & Said;

/** How long a "later" lasts that names no time. */
export const LATER = 4 * HOUR;
const DEFAULT_SECONDS = 600;

export class Prompter {
  readonly #world: World;
  readonly #manners: Manners;
  readonly #settings: Settings;
  /** What the executable shows now. */
  #showing: Promise<void> | null = null;

  constructor(world: World, manners: Manners, settings: Settings) {
    this.#world = world;
    this.#manners = manners;
    this.#settings = settings;
  }

  /** The language of prompts: the one that is wanted, that of the settings, that of the machine. */
  language(wanted?: string): string {
    const { LC_ALL, LC_MESSAGES, LANG } = this.#world.environment;
    return languageOf([wanted, this.#settings.policy?.language, LC_ALL, LC_MESSAGES, LANG]);
  }

  promptOf({ situation, policy, pending }: Looked, wanted?: string): Prompt {
    const { product, version, kind } = situation;
    const deadline = deadlineOf(situation, policy);
    return {
      id: promptId(pending),
      product,
      version,
      kind,
      since: formatInstant(situation.since),
      deadline: deadline === null ? null : formatInstant(deadline),
      answer: pending.answer?.choice ?? null,
      answerUntil: pending.answer?.until ?? null,
      ...promptText(this.language(wanted), this.#subject({ situation, policy, pending }, deadline)),
    };
  }

  /** Whether a person is to be asked about it now. */
  isAsked({ situation, policy }: Looked): boolean {
    const verdict = decide(situation, policy);
    return policy.when === "ask" && verdict.do === "wait" && ["asks", "skipped"].includes(verdict.rule);
  }

  /** Runs the executable once for each release, and once more when a "later" is over. Errors: `disk/*`. */
  async askAbout(looked: Looked): Promise<void> {
    const hook = this.#settings.policy?.prompt;
    const { pending, situation } = looked;
    if (hook === undefined || this.#showing !== null || !this.isAsked(looked)) return;
    const later = pending.answer?.choice === "later" ? pending.answer.until : null;
    const over = later !== null && parseInstant(later) <= situation.now && pending.prompted === null;
    if ((pending.answer !== null && !over) || pending.prompted !== null) return;
    await this.#manners.revise(pending, { prompted: formatInstant(situation.now) });
    const prompt = this.promptOf(looked);
    this.#show(prompt.id, "prompt", prompt, prompt.deadline, async (output) => {
      const choice = output.trim().split("\n").at(-1)?.trim() ?? "";
      if (choice === "accept" || choice === "later" || choice === "skip")
        await this.#manners.answer(prompt.id, choice, LATER);
    });
  }

  /** A warning asks nothing: what the executable says to it is no answer. */
  warn(looked: Looked, deadline: Instant): void {
    if (this.#settings.policy?.prompt === undefined) return;
    const text = warningText(this.language(), this.#subject(looked, deadline));
    const before = this.#showing ?? Promise.resolve();
    void before.then(() =>
      this.#show(promptId(looked.pending), "warning", text, formatInstant(deadline), async () => {}),
    );
  }

  /** What the executable shows, until it has ended; for tests and for an orderly end. */
  async settle(): Promise<void> {
    await this.#showing;
  }

  #subject({ situation: { product, version, kind, zone } }: Looked, deadline: Instant | null): Subject {
    return { product, version, security: kind === "security", deadline, zone };
  }

  #show(
    id: string,
    what: "prompt" | "warning",
    { title, text, language, choices }: Said,
    deadline: string | null,
    take: (output: string) => Promise<void>,
  ): void {
    const { command, timeoutSeconds = DEFAULT_SECONDS } = this.#settings.policy!.prompt!;
    const env = {
      UPKEEP_PROMPT: what,
      UPKEEP_PROMPT_ID: id,
      UPKEEP_PROMPT_TITLE: title,
      UPKEEP_PROMPT_TEXT: text,
      UPKEEP_PROMPT_LANGUAGE: language,
      UPKEEP_PROMPT_DEADLINE: deadline ?? "",
      UPKEEP_PROMPT_ACCEPT: choices.accept,
      UPKEEP_PROMPT_LATER: choices.later,
      UPKEEP_PROMPT_SKIP: choices.skip,
    };
    const { log, surroundings } = this.#world;
    const run = async (): Promise<void> => {
      const answer = await surroundings.run({ command, env, timeoutMs: timeoutSeconds * SECOND });
      if (answer.kind === "exit" && answer.code === 0) return take(answer.output);
      const how = answer.kind === "exit" ? `exit code ${answer.code}` : answer.kind;
      log({ level: "warn", event: "prompt-not-shown", id, how });
    };
    this.#showing = run()
      .catch((error: unknown) => {
        log({ level: "warn", event: "prompt-not-shown", id, how: sentenceOf(error) });
      })
      .finally(() => {
        this.#showing = null;
      });
  }
}
