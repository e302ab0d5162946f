// Where another file of this program is: with the ending that this copy has, a checkout's .ts or the package's .js.

/** `name` without ending, relative to `from`, which is the caller's `import.meta.url`. */
export function moduleBeside(name: string, from: string): URL {
  return new URL(`${name}${/\.[a-z]+$/.exec(from)?.[0] ?? ""}`, from);
}
