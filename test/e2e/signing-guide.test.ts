// The page on the signing service as one types it: the commands of "Setting up", in their order, as they stand there.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { tinyPe } from "../../src/testing/tiny-pe.ts";
import { needs } from "./_signing.ts";
import { freePort, PASSPHRASE, plainEnvironment, Programs } from "./_programs.ts";

const page = readFileSync(new URL("../../docs/operate/signing-service.md", import.meta.url), "utf8");
const section = /^## Setting up\n([^]*?)^## /m.exec(page)![1]!;
/** Each block of commands with the host that it is typed on, by the sentence before it. */
const blocks = [...section.matchAll(/^```\n([^]*?)^```/gm)].map(([, text], i) => ({
  host: section
    .slice(0, section.indexOf(text!))
    .match(/\*\*\d\. The (\w+)'s host\*\*/g)!
    .at(-1)!
    .replace(/.*The (\w+)'s.*/, "$1"),
  commands: text!.trimEnd().split("\n"),
  i,
}));

const folder = mkdtempSync(join(tmpdir(), "upkeep-guide-"));
const programs = new Programs(folder, { UPKEEP_UNLOCK: PASSPHRASE });
after(async () => {
  await programs.stopAll();
  rmSync(folder, { recursive: true, force: true });
});

/** What the guide's authority does: a certificate for code signing, and its own above it. */
function answer(csr: string, chain: string): void {
  const openssl = (line: string): void =>
    void execFileSync("openssl", line.split(" "), { cwd: folder, stdio: "ignore" });
  writeFileSync(join(folder, "ext"), "extendedKeyUsage=codeSigning\nkeyUsage=critical,digitalSignature\n");
  openssl("req -x509 -newkey rsa:2048 -nodes -days 400 -subj /CN=Example -keyout ca.key -out ca.pem");
  openssl(
    `x509 -req -in ${csr} -CA ca.pem -CAkey ca.key -CAcreateserial -days 300 -extfile ext -out leaf.pem`,
  );
  const read = (name: string): string => readFileSync(join(folder, name), "utf8");
  writeFileSync(chain, read("leaf.pem") + read("ca.pem"));
}

describe("the page on the signing service", needs("openssl"), () => {
  it("sets up gateway, signer and client by its commands as they stand there, up to a signed file", async () => {
    const ports = { "7443": await freePort(), "7444": await freePort() };
    const known = new Map<string, string>();
    const here = (line: string): string =>
      [...known]
        .reduce((text, [word, value]) => text.replaceAll(word, value), line)
        .replaceAll(
          /\b(gw\.example|0\.0\.0\.0):(744[34])/g,
          (_, _host, port: "7443" | "7444") => `127.0.0.1:${ports[port]}`,
        );
    const main = join(import.meta.dirname, "../../src/apps/cli/main.ts");
    /** Each host has a folder; only what the page says is carried between them. */
    const type = (host: string, line: string): string => {
      mkdirSync(join(folder, host), { recursive: true });
      const shell = `upkeep() { '${process.execPath}' --no-warnings '${main}' --data "$PWD/data" "$@"; }; ${here(line)}`;
      return execFileSync("sh", ["-c", shell], {
        cwd: join(folder, host),
        encoding: "utf8",
        env: { ...plainEnvironment(folder), UPKEEP_UNLOCK: PASSPHRASE },
      });
    };
    let typed = 0;
    for (const { host, commands } of blocks) {
      for (const line of commands) {
        typed++;
        if (/ cert import /.test(line)) answer("signer/release.csr", join(folder, "signer/chain.pem"));
        if (/^upkeep (?:gateway|signer) run$/.test(line)) {
          await programs.start(["--data", join(folder, host, "data"), ...line.split(" ").slice(1)]);
          continue;
        }
        if (line.includes("setup-1.0.exe")) {
          writeFileSync(join(folder, "client/setup-1.0.exe"), tinyPe());
          writeFileSync(
            join(folder, "client/service.json"),
            readFileSync(join(folder, "signer/service.json")),
          );
          assert.match(type(host, line), /signed as CN=Acme Inc\. by signer-1/);
          continue;
        }
        const said = type(host, line);
        const id = /\b[0-9a-f]{64}\b/.exec(said)?.[0];
        if (/ (?:identity|init) /.test(line)) known.set(host.toUpperCase(), id!);
      }
    }
    assert.equal(typed, 14);
    assert.equal(known.size, 3);
  });
});
