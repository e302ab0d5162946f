// Two consecutive published builds of a real native program, as the package manager brought them.

import { existsSync, readFileSync } from "node:fs";

export type Build = { readonly version: string; readonly file: string };

/** Older first; null on platforms that the packages are not made for. */
export function nativePair(): readonly Build[] | null {
  const builds: Build[] = [];
  for (const name of ["esbuild-linux-x64-previous", "esbuild-linux-x64-current"]) {
    const folder = new URL(`../../../../node_modules/${name}/`, import.meta.url).pathname;
    if (!existsSync(`${folder}bin/esbuild`)) return null;
    const { version } = JSON.parse(readFileSync(`${folder}package.json`, "utf8")) as { version: string };
    builds.push({ version, file: `${folder}bin/esbuild` });
  }
  return builds;
}
