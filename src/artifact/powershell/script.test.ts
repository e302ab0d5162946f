// Scripts that try to run what was not signed.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { concat, toUtf8 } from "../../core/bytes.ts";
import { SCRIPTS } from "../../testing/tiny-windows-files.ts";
import { attachToScript, isUncertain, parseScript, refuseUncertain, removeFromScript } from "./script.ts";

const cms = new Uint8Array(200).fill(0xaa);
const body = toUtf8('Write-Host "hi"\r\n');
const signed = attachToScript(parseScript(body), cms);
const text = Buffer.from(signed).toString("latin1");

const refused = (bytes: Uint8Array | string, code: string): void =>
  assert.throws(() => parseScript(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes), {
    code,
  });

describe("reading scripts", () => {
  it("finds its own block in every encoding, and gives the script back without it", () => {
    for (const bytes of Object.values(SCRIPTS)) {
      const script = parseScript(attachToScript(parseScript(bytes), cms));
      assert.deepEqual(script.cms, cms);
      assert.deepEqual(removeFromScript(script), bytes);
    }
  });

  it("refuses code behind the block", () => {
    refused(concat([signed, toUtf8("Remove-Item -Recurse /\r\n")]), "artifact/trailing-bytes");
    refused(concat([signed, toUtf8("\r\n")]), "artifact/trailing-bytes");
  });

  it("refuses code inside the block", () => {
    refused(text.replace("# SIG # End", "Remove-Item x\r\n# SIG # End"), "artifact/malformed");
    refused(text.replace("\r\n# qq", "\r\nqq"), "artifact/malformed");
  });

  it("refuses two blocks, half a block, and blocks written otherwise", () => {
    refused(text + text.slice(text.indexOf("\r\n# SIG")), "artifact/doubled-signature");
    refused(text.slice(0, -40), "artifact/malformed");
    refused(text.replace("# SIG # Begin signature block", "# SIG # begin"), "artifact/malformed");
    refused(text.replaceAll("\r\n", "\n"), "artifact/malformed");
    refused(text.replace("# qq", "#  qq"), "artifact/malformed");
    refused(text.replace("qq", "q=q"), "artifact/malformed");
  });

  it("takes the words in the middle of a line for what they are", () => {
    const talk = toUtf8('"see # SIG # Begin signature block"\r\n');
    assert.equal(parseScript(talk).cms, null);
  });

  it("refuses to sign UTF-8 without a mark and with other letters than ASCII, which Windows PowerShell reads otherwise", () => {
    const sign = (text: string): void => refuseUncertain(parseScript(toUtf8(text)));
    assert.throws(() => sign('Write-Host "Grüße"\r\n'), { code: "artifact/unsupported" });
    sign('\ufeffWrite-Host "Grüße"\r\n');
    sign('Write-Host "Gruesse ~"\r\n');
    // What stands in the block is no letter of the script.
    refuseUncertain(parseScript(signed));
    assert.equal(isUncertain(parseScript(new Uint8Array(Buffer.from("\ufeffä", "utf16le")))), false);
  });

  it("refuses text whose letters are not certain", () => {
    refused(Uint8Array.of(0x22, 0xe4, 0x22), "artifact/unsupported");
    refused(Uint8Array.of(0xfe, 0xff, 0, 65), "artifact/unsupported");
    refused(Uint8Array.of(0xff, 0xfe, 0, 0, 65, 0, 0, 0), "artifact/unsupported");
    refused(Uint8Array.of(0xff, 0xfe, 65), "artifact/malformed");
  });
});
