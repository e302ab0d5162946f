// What people are asked and warned of, in their language: each language is a file in `texts/`, and English stands in for what is not there.

import { formatInstant, type Instant } from "../core/instant.ts";
import type { Choice } from "./decide.ts";
import { de } from "./texts/de.ts";
import { en, type Texts } from "./texts/en.ts";

/** A new language is a file and a row here. */
const LANGUAGES: { readonly [language: string]: Texts } = { de, en };

export type Subject = {
  readonly product: string;
  readonly version: string;
  readonly security: boolean;
  /** When it is activated whatever people say; null if never. */
  readonly deadline: Instant | null;
  readonly zone: string;
};

export type Said = {
  readonly language: string;
  readonly title: string;
  readonly text: string;
  readonly choices: { readonly [C in Choice]: string };
};

/** The first of `wanted` that there is, "de_DE.UTF-8" as well as "de". */
export function languageOf(wanted: readonly (string | undefined)[]): string {
  for (const one of wanted) {
    const language = /^[a-z]{2,3}/.exec((one ?? "").toLowerCase())?.[0] ?? "";
    if (Object.hasOwn(LANGUAGES, language)) return language;
  }
  return "en";
}

export function promptText(language: string, subject: Subject): Said {
  const texts = LANGUAGES[language] ?? en;
  const { product, version, security, deadline } = subject;
  const end = deadline === null ? "" : ` ${texts.atTheLatest(whenOf(language, subject))}`;
  return {
    language,
    title: texts.title(product),
    text: `${security ? texts.security(product, version) : texts.feature(product, version)}${end}`,
    choices: texts.choices,
  };
}

export function warningText(language: string, subject: Subject): Said {
  const texts = LANGUAGES[language] ?? en;
  const { product, version } = subject;
  return {
    language,
    title: texts.title(product),
    text: texts.warning(product, version, whenOf(language, subject)),
    choices: texts.choices,
  };
}

/** By the clock on the wall there. */
function whenOf(language: string, { deadline, zone }: Subject): string {
  if (deadline === null) return "";
  try {
    return new Intl.DateTimeFormat(language, {
      dateStyle: "full",
      timeStyle: "short",
      timeZone: zone,
    }).format(deadline);
  } catch {
    return formatInstant(deadline);
  }
}
