// Tests of signtool's words: what they become, where ours may stand beside them, and what is refused.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { fromSigntool } from "./signtool.ts";

const becomes = (line: string, expected: string): void =>
  assert.equal(fromSigntool(line.split(" ")).join(" "), expected);

describe("a command line in signtool's words", () => {
  it("becomes one in ours, in any case and with either mark", () => {
    becomes(
      "sign /fd SHA256 /tr http://a/ /td sha256 /f c.pfx app.exe",
      "sign --replace --hash sha256 --timestamp-url http://a/ --timestamp-hash sha256 --cert c.pfx -- app.exe",
    );
    becomes(
      "SIGN -FD SHA384 -F c.pfx a.exe b.exe",
      "sign --replace --hash sha384 --cert c.pfx -- a.exe b.exe",
    );
    becomes("sign /as /f c.pfx app.exe", "sign --append --cert c.pfx -- app.exe");
    becomes("verify /pa /home/pa.exe", "verify -- /home/pa.exe");
  });

  it("takes words of ours before the command and among signtool's", () => {
    becomes(
      "--data /d --json sign /f c.pfx app.exe",
      "--data /d --json sign --replace --cert c.pfx -- app.exe",
    );
    becomes("--data=/d verify /pa app.exe", "--data=/d verify -- app.exe");
    becomes(
      "sign /f c.pfx --json --jobs=8 --skip-signed app.exe",
      "sign --cert c.pfx --json --jobs=8 --skip-signed -- app.exe",
    );
  });

  it("is refused when a word of ours has its value behind a space: it could be a file", () => {
    assert.throws(() => fromSigntool(["sign", "/f", "c.pfx", "--jobs", "8", "a.exe"]), { code: "cli/usage" });
  });

  it("is refused by name when it asks for what there is not, or lacks a value", () => {
    assert.throws(() => fromSigntool(["sign", "/dlib", "x.dll", "a.exe"]), { message: /^\/dlib / });
    assert.throws(() => fromSigntool(["sign", "a.exe", "/f"]), { message: "/f needs a value." });
  });

  it("goes to the signing service that the environment names, unless it names a certificate file", () => {
    const at = (line: string): string => fromSigntool(line.split(" "), true).join(" ");
    assert.equal(
      at("sign /fd SHA256 /tr http://a/ /td SHA256 /n release /d App app.exe"),
      "sign --replace --hash sha256 --timestamp --timestamp-hash sha256 --subject release --description App -- app.exe",
    );
    assert.equal(
      at("sign /fd SHA256 /tr http://a/ /f c.pfx app.exe"),
      "sign --replace --hash sha256 --timestamp-url http://a/ --cert c.pfx -- app.exe",
    );
    for (const word of ["/t", "/ac", "/p"])
      assert.throws(() => at(`sign /n release ${word} x app.exe`), { message: new RegExp(`^${word} `) });
    becomes(
      "sign --service=s.json /tr http://a/ /n release app.exe",
      "sign --replace --service=s.json --timestamp --subject release -- app.exe",
    );
  });

  it("is left alone when it is one in our words", () => {
    for (const line of ["sign --cert c.pfx a.exe", "release add app 1.0.0 ./app", "--json repo status", ""])
      becomes(line, line);
  });
});
