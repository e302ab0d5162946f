// The npm package: packed as npm does it, installed into an empty folder, its command, its doors and the guides tried from there.

import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, it } from "node:test";
import { Site } from "./_agent.ts";

const root = new URL("../..", import.meta.url).pathname;
const folder = realpathSync(mkdtempSync(join(tmpdir(), "upkeep-package-")));
const consumer = join(folder, "consumer");
const bin = dirname(process.execPath);
const env = { PATH: `${bin}:${process.env["PATH"] ?? ""}`, HOME: folder };
after(() => rmSync(folder, { recursive: true, force: true }));

type Lock = {
  readonly packages: { readonly [path: string]: { readonly dev?: boolean; readonly link?: boolean } };
};

before(() => {
  // A clone, so that nothing but what is committed or changed here is packed, and no folder of the checkout is written.
  const source = join(folder, "source");
  mkdirSync(source);
  for (const name of ["src", "tools", "docs", "spec"])
    cpSync(join(root, name), join(source, name), { recursive: true });
  for (const name of readdirSync(root, { withFileTypes: true }))
    if (name.isFile()) cpSync(join(root, name.name), join(source, name.name));
  execFileSync("ln", ["-s", join(root, "node_modules"), join(source, "node_modules")]);
  execFileSync("npm", ["pack", "--silent", "--pack-destination", folder], {
    cwd: source,
    env,
    stdio: "pipe",
  });
  // Dependencies come from the checkout, so that no registry is asked: the same versions, by their folders.
  const { packages } = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as Lock;
  const dependencies: { [name: string]: string } = { upkeep: `file:${tarball()}` };
  for (const [path, { dev, link }] of Object.entries(packages))
    if (
      path.startsWith("node_modules/") &&
      dev !== true &&
      link !== true &&
      existsSync(join(root, path)) &&
      !/node-|esbuild|koffi/.test(path)
    )
      dependencies[path.slice("node_modules/".length)] = `file:${join(root, path)}`;
  mkdirSync(consumer);
  writeFileSync(
    join(consumer, "package.json"),
    JSON.stringify({ type: "module", private: true, dependencies }),
  );
  execFileSync(
    "npm",
    ["install", "--offline", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--silent"],
    {
      cwd: consumer,
      env,
      stdio: "pipe",
    },
  );
});

function tarball(): string {
  return join(
    folder,
    readdirSync(folder).find((name) => name.endsWith(".tgz"))!,
  );
}

/** Code blocks of a page in one language, as they stand. */
function blocks(page: string, language: string): readonly string[] {
  const text = readFileSync(join(root, page), "utf8");
  return [...text.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, "g"))].map(
    (match) => match[1]!,
  );
}

/** Runs a page's code in the consumer's folder as a program of its user. */
function run(code: string, more: { readonly [name: string]: string } = {}): string {
  const file = join(consumer, `${Math.random().toString(36).slice(2)}.ts`);
  writeFileSync(file, code);
  const ran = spawnSync(process.execPath, [file], {
    cwd: consumer,
    env: { ...env, ...more },
    encoding: "utf8",
    timeout: 60_000,
  });
  assert.equal(ran.status, 0, `${code}\n${ran.stdout}${ran.stderr}`);
  return ran.stdout;
}

describe("the npm package", () => {
  it("holds JavaScript, types and documentation, and neither sources nor tests", () => {
    const names = execFileSync("tar", ["-tzf", tarball()], { encoding: "utf8" }).trim().split("\n");
    assert.ok(names.includes("package/dist/apps/cli/main.js"));
    assert.ok(names.includes("package/docs/install.md") && names.includes("package/LICENSE"));
    assert.deepEqual(
      names.filter((name) => /\.test\.|^package\/(src|test|bench)\/|[^d]\.ts$/.test(name)),
      [],
    );
  });

  it("gives the command, which makes a repository and a release", () => {
    const upkeep = (...words: readonly string[]): string =>
      execFileSync(
        join(consumer, "node_modules/.bin/upkeep"),
        ["--data", join(folder, "operator"), ...words],
        {
          encoding: "utf8",
          env,
          cwd: consumer,
        },
      );
    const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
    assert.equal(upkeep("--version").trim(), version);
    upkeep("repo", "init", "--quiet");
    writeFileSync(join(folder, "thing"), "one thing\n");
    upkeep("release", "add", "thing", "1.4.0", join(folder, "thing"), "--data-only", "--promote", "--quiet");
    assert.match(upkeep("repo", "doctor"), /verified/);
  });

  it("runs the guide to the client as it stands, against a real repository", () => {
    const [client, simulated] = blocks("docs/guides/embed-the-client.md", "ts");
    const repository = join(folder, "operator/repository");
    const listed = execFileSync(
      join(consumer, "node_modules/.bin/upkeep"),
      ["--data", join(folder, "operator"), "release", "show", "thing", "1.4.0", "--json"],
      { encoding: "utf8", env },
    );
    const target =
      /products\/thing\/1\.4\.0\/[^"/]+/.exec(listed)?.[0] ?? "products/thing/1.4.0/release.json";
    cpSync(join(repository, "metadata/1.root.json"), join(consumer, "1.root.json"));
    const there = client!
      .replaceAll("/var/lib/thing", join(folder, "client"))
      .replace("https://updates.example.com/repository", repository)
      .replace("products/thing/1.4.0/thing-linux-x64", target);
    mkdirSync(join(folder, "client"));
    assert.match(run(there), /product\.thing/);
    assert.ok(readFileSync(join(folder, "client/thing-1.4.0")).length > 0);
    assert.equal(run(simulated!), "hello\n");
  });

  it("runs the guide to the agent as it stands, with a real server", async () => {
    const site = await Site.create();
    try {
      site.publish("1.0.0");
      await site.startServer();
      const [agent] = blocks("docs/guides/embed-the-agent.md", "ts");
      const made = site.ok(site.upkeep(site.operator, "token", "new", "--json")).stdout;
      const said = run(agent!, {
        AGENT_FOLDER: site.device,
        UPKEEP_TOKEN: (JSON.parse(made) as { token: string }).token,
        SERVER_HOST: "127.0.0.1",
        SERVER_PORT: String(site.serverPort),
      });
      assert.match(said, /^enrolled as [0-9a-f-]{36}$/m);
      assert.match(said, /^shop updated /m);
      await site.until("1.0.0");
    } finally {
      await site.remove();
    }
  });

  it("has types under which every example beside an exported function compiles", () => {
    const examples: string[] = [];
    for (const file of readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })) {
      if (!file.endsWith(".ts") || file.endsWith(".test.ts")) continue;
      const text = readFileSync(join(root, "src", file), "utf8");
      for (const match of text.matchAll(/@example\n \* ```ts\n([\s\S]*?) \* ```/g))
        examples.push(match[1]!.replace(/^ \* ?/gm, ""));
    }
    assert.ok(examples.length >= 4);
    const guides = ["docs/guides/embed-the-client.md", "docs/guides/embed-the-agent.md"].flatMap((page) =>
      blocks(page, "ts"),
    );
    const files = [...examples, ...guides].map((code, at) => {
      const file = join(consumer, `example-${at}.ts`);
      writeFileSync(file, code);
      return file;
    });
    const words = [
      "--noEmit",
      "--strict",
      "--module",
      "nodenext",
      "--target",
      "es2024",
      "--lib",
      "es2024,esnext.disposable,esnext.iterator",
      "--skipLibCheck",
      "false",
    ];
    const types = ["--types", "node", "--typeRoots", join(root, "node_modules/@types")];
    const ran = spawnSync(
      process.execPath,
      [join(root, "node_modules/typescript/bin/tsc"), ...words, ...types, ...files],
      {
        cwd: consumer,
        encoding: "utf8",
      },
    );
    assert.equal(ran.status, 0, ran.stdout);
  });
});
