// The record through which cabinets are known to the rest of the house.

import type { Format } from "../format.ts";
import { indirectFormat } from "../indirect-format.ts";
import {
  attachToCabinet,
  CAB_MAGIC,
  cabinetDigest,
  cabinetSignature,
  readCabinet,
  removeFromCabinet,
} from "./cabinet.ts";

export const cabFormat: Format = indirectFormat({
  name: "cab",
  title: "Cabinet (CAB)",
  extensions: [".cab"],
  matches: (head) => CAB_MAGIC.every((byte, i) => head[i] === byte),
  // SPC_CAB_DATA_OBJID with an empty SpcLink.
  type: "1.3.6.1.4.1.311.2.1.25",
  // Cabinets that Windows signed in 2015 name the link itself: SPC_LINK_OBJID.
  foreignTypes: ["1.3.6.1.4.1.311.2.1.28"],
  value: Uint8Array.of(0xa2, 0x02, 0x80, 0x00),
  read: async (source) => {
    const cabinet = await readCabinet(source);
    const { body, signature } = cabinet;
    const end = body.offset + body.size;
    return {
      cms: await cabinetSignature(source, cabinet),
      plan: async (hash) => ({
        digest: await cabinetDigest(source, cabinet, hash),
        attach: (cms) => attachToCabinet(cabinet, cms),
      }),
      remove: () => removeFromCabinet(cabinet),
      regions: [
        {
          from: 0,
          to: body.offset,
          what: "header and folders, but for the place of the signature",
          covered: true,
        },
        { from: body.offset, to: end, what: "files and data", covered: true },
        ...(signature === null
          ? []
          : [{ from: end, to: end + signature.size, what: "signature", covered: false }]),
      ],
    };
  },
});
