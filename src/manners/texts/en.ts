// English.

/** One sentence each, without markup. `when` is a day and a time of day. */
export type Texts = {
  readonly title: (product: string) => string;
  readonly feature: (product: string, version: string) => string;
  readonly security: (product: string, version: string) => string;
  readonly atTheLatest: (when: string) => string;
  readonly warning: (product: string, version: string, when: string) => string;
  readonly choices: { readonly accept: string; readonly later: string; readonly skip: string };
};

export const en: Texts = {
  title: (product) => `Update of ${product}`,
  feature: (product, version) =>
    `${product} ${version} is ready to be installed. ${product} restarts for it.`,
  security: (product, version) =>
    `${product} ${version} closes a security hole and is ready to be installed. ${product} restarts for it.`,
  atTheLatest: (when) => `It is installed on ${when} at the latest.`,
  warning: (product, version, when) =>
    `${product} ${version} is installed on ${when}. ${product} restarts for it. Save your work before.`,
  choices: { accept: "Install now", later: "Later", skip: "Skip this version" },
};
