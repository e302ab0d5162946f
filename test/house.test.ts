// The architecture as a test: floors, who may touch the world, and what the agent and the signer may contain.

import assert from "node:assert/strict";
import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, it } from "node:test";

const root = new URL("..", import.meta.url).pathname;
const src = join(root, "src");

/** Lower floors first. A room imports from lower floors only, and from itself. */
const FLOORS: readonly (readonly string[])[] = [
  ["core"],
  ["keys", "der", "manners", "mirror", "delta"],
  ["history", "release", "slot", "process", "message"],
  ["artifact", "repository", "report", "identity", "license", "feed"],
  ["signing", "fleet", "agent"],
  ["io"],
  ["testing"],
  ["apps"],
  ["doors"],
];

/** Modules of Node that only compute: the same input gives the same output. */
const PURE_NODE = new Set([
  "node:crypto",
  "node:zlib",
  "node:util",
  "node:buffer",
  "node:assert",
  "node:assert/strict",
]);

/** Names that reach for the clock or for chance; nouns are given both through their door. */
const WORLDLY = [
  /\bDate\.now\(/,
  /\bnew Date\(\)/,
  /\bMath\.random\(/,
  /\brandomBytes\b/,
  /\brandomUUID\b/,
  /\bperformance\.now\(/,
  /\bprocess\.(env|argv|exit|on|kill)\b/,
  /\bset(Timeout|Interval)\(/,
];

type File = {
  readonly path: string;
  readonly room: string;
  readonly test: boolean;
  readonly text: string;
  readonly imports: readonly string[];
};

const files: readonly File[] = globSync("**/*.ts", { cwd: src })
  .sort()
  .map((path) => {
    const text = readFileSync(join(src, path), "utf8");
    const imports = [
      ...text.matchAll(
        /^\s*(?:import|export)\b[^;]*?\bfrom\s+"([^"]+)"|^\s*import\s+"([^"]+)"|\bimport\("([^"]+)"\)/gm,
      ),
    ].map((m) => (m[1] ?? m[2] ?? m[3])!);
    return { path, room: path.split("/")[0]!, test: path.endsWith(".test.ts"), text, imports };
  });

const floorOf = (room: string): number => FLOORS.findIndex((floor) => floor.includes(room));
const roomOf = (file: File, imported: string): string =>
  relative(src, join(src, dirname(file.path), imported)).split("/")[0]!;
const pathOf = (file: File, imported: string): string => join(dirname(file.path), imported);
const folderOf = (file: File, imported: string): string => dirname(pathOf(file, imported));
const product = files.filter((file) => !file.test);

describe("the house", () => {
  it("has a floor for every room", () => {
    assert.deepEqual(
      [...new Set(files.map((file) => file.room))].filter((room) => floorOf(room) < 0),
      [],
    );
  });

  it("imports downwards only", () => {
    const wrong: string[] = [];
    for (const file of product) {
      for (const imported of file.imports.filter((name) => name.startsWith("."))) {
        const target = roomOf(file, imported);
        if (target === file.room) continue;
        if (floorOf(target) >= floorOf(file.room))
          wrong.push(`${file.path} imports ${imported}: ${target} is not below ${file.room}`);
      }
    }
    assert.deepEqual(wrong, []);
  });

  it("keeps private files private to their folder", () => {
    const wrong = files.flatMap((file) =>
      file.imports
        .filter(
          (name) =>
            name.startsWith(".") && /\/_[^/]+$/.test(name) && folderOf(file, name) !== dirname(file.path),
        )
        .map((name) => `${file.path} imports ${name}`),
    );
    assert.deepEqual(wrong, []);
  });

  it("has a door for every name that the package exports, and no other file that only re-exports", () => {
    const { exports } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      exports: { readonly [name: string]: { readonly default: string } };
    };
    const named = Object.keys(exports)
      .filter((name) => name !== "./package.json")
      .map((name) => `doors/${name.slice(2).replaceAll("/", "-")}.ts`);
    const doors = product.filter(({ room, path }) => room === "doors" && !/\/_[^/]+$/.test(path));
    assert.deepEqual(doors.map(({ path }) => path).toSorted(), named.toSorted());
    assert.deepEqual(
      product.filter(({ path }) => path.endsWith("/index.ts")).map(({ path }) => path),
      [],
    );
  });

  it("touches disk, network, clock, chance and processes in io, testing, apps and doors only", () => {
    const wrong: string[] = [];
    for (const file of product) {
      if (["io", "testing", "apps", "doors"].includes(file.room)) continue;
      for (const name of file.imports) {
        if (name.startsWith("node:") && !PURE_NODE.has(name)) wrong.push(`${file.path} imports ${name}`);
      }
      const code = file.text.replace(/\/\/.*$/gm, "").replace(/\/\*[\s\S]*?\*\//g, "");
      for (const name of WORLDLY) if (name.test(code)) wrong.push(`${file.path} uses ${name.source}`);
    }
    assert.deepEqual(wrong, []);
  });

  it("has no circle of files, not even of types or of what is loaded later", () => {
    const imports = new Map(
      product.map((file) => [
        file.path,
        file.imports.filter((name) => name.startsWith(".")).map((name) => pathOf(file, name)),
      ]),
    );
    assert.deepEqual(circlesOf(imports), []);
  });

  it("has no circle of folders", () => {
    const imports = new Map<string, string[]>();
    for (const file of product) {
      if (ONE_ROOM.some((room) => file.path.startsWith(`${room}/`))) continue;
      const from = dirname(file.path);
      const to = file.imports.filter((name) => name.startsWith(".")).map((name) => folderOf(file, name));
      imports.set(from, [...(imports.get(from) ?? []), ...to.filter((folder) => folder !== from)]);
    }
    assert.deepEqual(circlesOf(imports), []);
  });

  it("opens every file with one sentence that says what it is", () => {
    assert.deepEqual(
      files.filter((file) => !/^(#![^\n]*\n)?\/\/ \S.*/.test(file.text)).map((file) => file.path),
      [],
    );
  });

  it("has the floors, and every file of the table of bytes, as ARCHITECTURE.md shows them", () => {
    const page = readFileSync(join(root, "ARCHITECTURE.md"), "utf8");
    const floors = [...page.matchAll(/^\| (\d) \| ((?:`[a-z]+`(?:, )?)+) \|/gm)].map(([, floor, rooms]) => [
      Number(floor),
      [...rooms!.matchAll(/`([a-z]+)`/g)].map(([, room]) => room!),
    ]);
    assert.deepEqual(
      floors,
      [...FLOORS.entries()].toReversed().map(([at, rooms]) => [at, [...rooms]]),
    );
    const start = page.indexOf("## Where a byte enters");
    const table = page.slice(start, page.indexOf("\n## ", start));
    const named = [...table.matchAll(/`([^`]+\.ts)`/g)]
      .map(([, path]) => path!)
      .filter((path) => !path.startsWith("test/"));
    assert.ok(named.length > 30, `${named.length} files are named`);
    assert.deepEqual(
      named.filter((path) => !existsSync(join(src, path))),
      [],
    );
  });

  it("keeps what an entry contains within its reviewed bans", () => {
    const wrong: string[] = [];
    const { dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
      dependencies: { readonly [name: string]: string };
    };
    const packages = new Set(Object.keys(dependencies));
    for (const [entry, bans] of Object.entries(BANS)) {
      if (!existsSync(join(src, entry))) wrong.push(`${entry} is not there`);
      const closure = closureOf(entry);
      for (const [ban, reason] of Object.entries(bans)) {
        if (!existsSync(join(src, ban)) && !packages.has(ban))
          wrong.push(`${entry} bans ${ban}, which is nothing`);
        for (const member of closure)
          if (member === ban || member.startsWith(`${ban}/`))
            wrong.push(`${entry} contains ${member}: ${reason}`);
      }
    }
    assert.deepEqual(wrong, []);
  });
});

/** Rooms whose folders group files, while each file still knows its neighbors. */
const ONE_ROOM: readonly string[] = ["artifact", "signing"];

/** Groups of nodes that reach each other (Tarjan 1972), each sorted. */
function circlesOf(graph: ReadonlyMap<string, readonly string[]>): readonly (readonly string[])[] {
  const order = new Map<string, number>();
  const lowest = new Map<string, number>();
  const open: string[] = [];
  const circles: string[][] = [];
  const visit = (node: string): void => {
    const at = order.size;
    order.set(node, at);
    lowest.set(node, at);
    open.push(node);
    for (const next of graph.get(node) ?? []) {
      if (!order.has(next)) visit(next);
      if (open.includes(next)) lowest.set(node, Math.min(lowest.get(node)!, lowest.get(next)!));
    }
    if (lowest.get(node) !== at) return;
    const circle = open.splice(open.indexOf(node));
    if (circle.length > 1) circles.push(circle.toSorted());
  };
  for (const node of graph.keys()) if (!order.has(node)) visit(node);
  return circles;
}

/** What must never be part of a program, and why. Files, rooms, or packages. */
const BANS: { readonly [entry: string]: { readonly [banned: string]: string } } = {
  "apps/agent/main.ts": {
    "io/http/server.ts": "the agent listens to nobody",
    "io/fleet-store/store.ts": "the agent keeps no books on others",
    pg: "the agent has no database",
    "io/database/sqlite.ts": "the agent keeps its state in small files that survive power cuts one by one",
    signing: "an agent never signs for others",
    testing: "doubles never ship",
    kysely: "the agent has no database",
  },
  "apps/signer/main.ts": {
    "io/windows/_advapi.ts": "calls of Windows are for commands and for what hosts a service",
    "io/http/server.ts": "the signer dials out and listens to nobody",
    agent: "a signer installs nothing",
    testing: "doubles never ship",
  },
  "apps/signer/front.ts": {
    "io/windows/_advapi.ts": "calls of Windows are for commands and for what hosts a service",
    "io/keys/custody.ts": "the process that reads requests opens no signing key",
    "io/keys/pkcs11.ts": "the process that reads requests opens no signing key",
    "io/keys/kms.ts": "the process that reads requests opens no signing key",
    "io/http/server.ts": "the signer dials out and listens to nobody",
    testing: "doubles never ship",
  },
  "apps/signer/worker.ts": {
    "io/windows/_advapi.ts": "calls of Windows are for commands and for what hosts a service",
    "io/signing/signer-dial.ts": "a key's process reads no request",
    "io/signing/pinned-tls.ts": "a key's process talks to its own signer only",
    "signing/wire/session.ts": "a key's process reads no request",
    "signing/service.ts": "a key's process decides nothing",
    jose: "a key's process reads no token",
    testing: "doubles never ship",
  },
  "apps/gateway/main.ts": {
    "io/windows/_advapi.ts": "calls of Windows are for commands and for what hosts a service",
    "io/keys/custody.ts": "the gateway holds no signing key",
    "io/keys/key-store.ts": "the gateway holds no signing key",
    "keys/key-file.ts": "the gateway holds no signing key",
    artifact: "the gateway parses no file",
    pg: "the gateway has no database",
    testing: "doubles never ship",
  },
  "apps/daemon/main.ts": {
    "apps/cli/table.ts": "what hosts a service is given the command, and knows none",
    "io/keys/custody.ts": "hosting opens no key",
    "signing/service.ts": "hosting decides nothing",
    testing: "doubles never ship",
  },
};

function closureOf(entry: string): ReadonlySet<string> {
  const seen = new Set<string>();
  const visit = (path: string): void => {
    if (seen.has(path)) return;
    seen.add(path);
    const file = files.find((candidate) => candidate.path === path);
    if (file === undefined) return;
    for (const name of file.imports) {
      if (name.startsWith(".")) visit(relative(src, join(src, dirname(path), name)));
      else if (!name.startsWith("node:")) seen.add(name);
    }
  };
  visit(entry);
  return seen;
}
