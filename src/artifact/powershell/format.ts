// The record through which PowerShell scripts are known to the rest of the house.

import type { Format } from "../format.ts";
import { indirectFormat, sipInfo, SPC_SIP_INFO } from "../indirect-format.ts";
import { readRange } from "../source.ts";
import {
  attachToScript,
  isUncertain,
  MAX_SCRIPT,
  parseScript,
  refuseUncertain,
  removeFromScript,
  scriptDigest,
  UNCERTAIN,
} from "./script.ts";

/** {603BCC1F-4B59-4E08-B724-D2C6297EF351}, the class of PowerShell's subject interface package. */
const GUID = Uint8Array.from(Buffer.from("1fcc3b60594b084eb724d2c6297ef351", "hex"));

export const powershellFormat: Format = indirectFormat({
  name: "powershell",
  title: "PowerShell script",
  extensions: [".ps1", ".psm1", ".psd1"],
  // Scripts have no mark of their own.
  matches: (_, name) => /\.(ps1|psm1|psd1)$/.test(name),
  type: SPC_SIP_INFO,
  value: sipInfo(0x10000, GUID),
  read: async (source) => {
    const script = parseScript(await readRange(source, 0, source.size, "script", MAX_SCRIPT));
    const { bodyEnd, cms } = script;
    return {
      cms,
      plan: async (hash) => ({
        digest: scriptDigest(script, hash),
        attach: (signature) => [attachToScript(script, signature)],
      }),
      remove: () => [removeFromScript(script)],
      refuseToSign: () => refuseUncertain(script),
      inspect: async (_hash, findings) => {
        if (isUncertain(script)) findings.warning("powershell/letters-uncertain", UNCERTAIN);
      },
      regions: [
        { from: 0, to: bodyEnd, what: "script", covered: true },
        ...(cms === null
          ? []
          : [{ from: bodyEnd, to: source.size, what: "signature block", covered: false }]),
      ],
    };
  },
});
