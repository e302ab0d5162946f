// The few PKCS#11 calls that signing needs, through koffi; loaded in the worker process only.

import type koffiModule from "koffi";

type Koffi = typeof koffiModule;
type Call = (...given: unknown[]) => number;

/** One logged-in session. Handles are the library's. */
export interface Session {
  /** All objects that the session may see. */
  objects(): readonly bigint[];
  /** Null if the object has no such attribute, or keeps it secret. */
  attribute(object: bigint, type: number): Uint8Array | null;
  number(object: bigint, type: number): number | null;
  sign(key: bigint, mechanism: number, input: Uint8Array): Uint8Array;
  close(): void;
}

const CKF_SERIAL_SESSION = 4;
const CKU_USER = 1;
const UNAVAILABLE = 0xffff_ffff_ffff_ffffn;
const OBJECTS_LIMIT = 10_000;
const ATTRIBUTE_LIMIT = 64 * 1024;

/** Return values of PKCS#11 v2.40 that a user can do something about. */
const WORDS: { readonly [code: number]: string } = {
  0x30: "the device reports an error",
  0x31: "the device is out of memory",
  0x32: "the device was removed",
  0x82: "the key is not there any more",
  0xa0: "the PIN is wrong",
  0xa4: "the PIN is locked",
  0xe0: "there is no token in the slot",
  0x100: "somebody is logged in already",
  0x101: "nobody is logged in",
};

export async function openSession(
  module: string,
  tokenLabel: string | undefined,
  pin: string,
): Promise<Session> {
  let koffi: Koffi;
  try {
    koffi = (await import("koffi")).default;
  } catch (cause) {
    throw new Error("The binding to native libraries (koffi) is not installed for this platform.", { cause });
  }
  if (koffi.sizeof("ulong") !== 8) throw new Error("PKCS#11 tokens are supported on 64-bit Linux and macOS.");
  let library: ReturnType<Koffi["load"]>;
  try {
    library = koffi.load(module);
  } catch (cause) {
    throw new Error(`The token's library ${module} cannot be loaded.`, { cause });
  }
  const bind = (declaration: string): Call => {
    const call = library.func(declaration) as unknown as Call;
    const name = /(C_\w+)\(/.exec(declaration)![1]!;
    return (...given) => {
      const code = Number(call(...given));
      if (code !== 0) throw new TokenError(`${name}: ${WORDS[code] ?? `error 0x${code.toString(16)}`}`, code);
      return code;
    };
  };
  const initialize = bind("ulong C_Initialize(void *args)");
  const finalize = bind("ulong C_Finalize(void *reserved)");
  const getSlots = bind("ulong C_GetSlotList(uint8_t present, void *slots, void *count)");
  const getTokenInfo = bind("ulong C_GetTokenInfo(ulong slot, void *info)");
  const openSlot = bind(
    "ulong C_OpenSession(ulong slot, ulong flags, void *app, void *notify, void *session)",
  );
  const login = bind("ulong C_Login(ulong session, ulong user, void *pin, ulong length)");
  const findInit = bind("ulong C_FindObjectsInit(ulong session, void *template, ulong count)");
  const find = bind("ulong C_FindObjects(ulong session, void *objects, ulong max, void *count)");
  const findFinal = bind("ulong C_FindObjectsFinal(ulong session)");
  const getAttributes = bind(
    "ulong C_GetAttributeValue(ulong session, ulong object, void *template, ulong count)",
  );
  const signInit = bind("ulong C_SignInit(ulong session, void *mechanism, ulong key)");
  const signNow = bind(
    "ulong C_Sign(ulong session, void *data, ulong length, void *signature, void *signatureLength)",
  );

  const numbers = (count: number): BigUint64Array => new BigUint64Array(count);
  initialize(null);
  const slot = findSlot();
  const handle = numbers(1);
  openSlot(slot, CKF_SERIAL_SESSION, null, null, handle);
  const session = handle[0]!;
  const pinBytes = Buffer.from(pin, "utf8");
  login(session, CKU_USER, pinBytes, pinBytes.length);
  pinBytes.fill(0);

  function findSlot(): bigint {
    const count = numbers(1);
    getSlots(1, null, count);
    const slots = numbers(Math.min(Number(count[0]), 256));
    count[0] = BigInt(slots.length);
    getSlots(1, slots, count);
    const labels = [...slots].slice(0, Number(count[0])).map((id) => {
      // CK_TOKEN_INFO begins with the label: 32 octets, filled up with spaces.
      const info = new Uint8Array(512);
      getTokenInfo(id, info);
      return { id, label: Buffer.from(info.subarray(0, 32)).toString("utf8").trimEnd() };
    });
    const fitting =
      tokenLabel === undefined
        ? labels.filter((each) => each.label !== "")
        : labels.filter((each) => each.label === tokenLabel);
    if (fitting.length !== 1)
      throw new Error(
        `${fitting.length === 0 ? "No" : "More than one"} token fits; there are ${labels.map((each) => `"${each.label}"`).join(", ") || "none"}.`,
      );
    return fitting[0]!.id;
  }

  /** CK_ATTRIBUTE is three words: type, address of the value, its length. */
  const attribute = (object: bigint, type: number): Uint8Array | null => {
    const template = numbers(3);
    template[0] = BigInt(type);
    try {
      getAttributes(session, object, template, 1);
    } catch (error) {
      if (error instanceof TokenError) return null;
      throw error;
    }
    const length = template[2]!;
    if (length === UNAVAILABLE || length > BigInt(ATTRIBUTE_LIMIT)) return null;
    if (length === 0n) return new Uint8Array(0);
    const room = koffi.alloc("uint8_t", Number(length));
    try {
      template[1] = BigInt(koffi.address(room));
      getAttributes(session, object, template, 1);
      return Uint8Array.from(
        koffi.decode(room, koffi.array("uint8_t", Number(length), "Typed")) as Uint8Array,
      );
    } finally {
      koffi.free(room);
    }
  };

  return {
    attribute,
    number: (object, type) => {
      const bytes = attribute(object, type);
      return bytes === null || bytes.length !== 8
        ? null
        : Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
    },
    objects: () => {
      findInit(session, null, 0);
      const out: bigint[] = [];
      try {
        for (;;) {
          const batch = numbers(64);
          const count = numbers(1);
          find(session, batch, 64, count);
          out.push(...batch.subarray(0, Number(count[0])));
          if (count[0] === 0n || out.length > OBJECTS_LIMIT) return out;
        }
      } finally {
        findFinal(session);
      }
    },
    sign: (key, mechanism, input) => {
      // CK_MECHANISM: type, no parameter.
      const wanted = numbers(3);
      wanted[0] = BigInt(mechanism);
      signInit(session, wanted, key);
      const out = new Uint8Array(1024);
      const length = BigUint64Array.of(1024n);
      signNow(session, Buffer.from(input), input.length, out, length);
      return out.slice(0, Number(length[0]));
    },
    close: () => {
      // Ends all sessions, which logs out.
      finalize(null);
    },
  };
}

class TokenError extends Error {
  readonly code: number;
  constructor(message: string, code: number) {
    super(`The token refuses: ${message}.`);
    this.code = code;
  }
}
