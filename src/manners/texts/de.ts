// German.

import type { Texts } from "./en.ts";

export const de: Texts = {
  title: (product) => `Aktualisierung von ${product}`,
  feature: (product, version) =>
    `${product} ${version} kann installiert werden. ${product} startet dafür neu.`,
  security: (product, version) =>
    `${product} ${version} schließt eine Sicherheitslücke und kann installiert werden. ${product} startet dafür neu.`,
  atTheLatest: (when) => `Spätestens am ${when} wird sie installiert.`,
  warning: (product, version, when) =>
    `${product} ${version} wird am ${when} installiert. ${product} startet dafür neu. Bitte sichern Sie vorher Ihre Arbeit.`,
  choices: { accept: "Jetzt installieren", later: "Später", skip: "Diese Version auslassen" },
};
