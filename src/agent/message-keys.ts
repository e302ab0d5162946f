// The keys that messages to this device are sealed for: the newest is what servers are given, those before stay until nothing can be under way.

import { fromHex, toHex, toUtf8 } from "../core/bytes.ts";
import { makeDirectories, readOrNull, writeAtomic } from "../core/disk.ts";
import { UpkeepError } from "../core/errors.ts";
import { DAY, formatInstant, type Instant } from "../core/instant.ts";
import { parseJson } from "../core/json.ts";
import { checkSchema, z } from "../core/schema.ts";
import { HPKE_KEY_LENGTH, hpkeKeysOf, publicKeyOf } from "../keys/hpke.ts";
import { messageKeyId, signMessageKey, type MessageKeyStatement } from "../message/message-key.ts";
import { MESSAGE_LIFE } from "../message/sealed/body.ts";
import type { DeviceIdentity, World } from "./ports.ts";

/** A key is replaced after so long, or after so many messages. */
export const KEY_LIFE = 30 * DAY;
export const KEY_USES = 1000;
/** How long the one before opens what was sealed for it: the life of a message, and a day for a server that did not hear of the new one. */
const OVERLAP = MESSAGE_LIFE + DAY;
const KEPT = 4;
const LIMIT = 16 * 1024;

const whole = z.number().check(z.int(), z.minimum(0), z.maximum(Number.MAX_SAFE_INTEGER));
const schema = z.strictObject({
  format: z.literal(1),
  /** Newest first. */
  keys: z
    .array(
      z.strictObject({
        privateKey: z.string().check(z.regex(/^[0-9a-f]{64}$/, "expected 64 lower-case hex digits")),
        made: whole,
        replaced: z.nullable(whole),
        uses: whole,
      }),
    )
    .check(z.minLength(1), z.maxLength(KEPT)),
});
type Kept = z.infer<typeof schema>["keys"][number];

export type MessageKey = { readonly id: string; readonly privateKey: Uint8Array };

export class MessageKeys {
  readonly #world: Pick<World, "disk" | "clock" | "random">;
  readonly #path: string;
  readonly #identity: DeviceIdentity;
  #keys: readonly Kept[];
  #ids = new Map<string, MessageKey>();
  #statement: MessageKeyStatement | null = null;
  /** The key that the server said it holds. */
  #known: string | null = null;
  #due = false;
  /** Uses were counted that are not on the disk yet. */
  #counted = false;

  constructor(
    world: Pick<World, "disk" | "clock" | "random">,
    path: string,
    identity: DeviceIdentity,
    keys: readonly Kept[],
  ) {
    this.#world = world;
    this.#path = path;
    this.#identity = identity;
    this.#keys = keys;
    this.#index();
  }

  /** The key that a message's header names; null for one of others. */
  find(id: string): MessageKey | null {
    return this.#ids.get(id) ?? null;
  }

  /** An authentic message was opened with it. */
  used(id: string): void {
    this.#keys = this.#keys.map((one) => (idOf(one) === id ? { ...one, uses: one.uses + 1 } : one));
    this.#counted = true;
  }

  /** The next check replaces the key, whatever its age. */
  renewSoon(): void {
    this.#due = true;
  }

  /** What to say of the newest key in the next check-in; null while the server has it. Errors: `disk/*`. */
  async statement(): Promise<MessageKeyStatement | null> {
    await this.#rotate();
    const [newest] = this.#keys;
    if (this.#known === idOf(newest!)) return null;
    const { device, key } = this.#identity;
    const own = publicKeyOf(fromHex(newest!.privateKey));
    return (this.#statement ??= await signMessageKey(device, formatInstant(newest!.made), own, key));
  }

  /** The key that the server holds, by its answer; null for a server that holds none, or knows nothing of keys. */
  answered(id: string | null): void {
    this.#known = id;
  }

  async #rotate(): Promise<void> {
    const now = this.#world.clock.now();
    const [newest] = this.#keys;
    // A key from the future was made by a clock that was ahead: its age cannot be told.
    const old = now - newest!.made >= KEY_LIFE || newest!.made > now + DAY;
    if (!old && newest!.uses < KEY_USES && !this.#due) {
      if (this.#counted) await writeKeys(this.#world, this.#path, this.#keys);
      this.#counted = false;
      return;
    }
    const before = this.#keys.map((one) => ({ ...one, replaced: one.replaced ?? now }));
    const open = before.filter(({ replaced }) => Math.abs(now - replaced) < OVERLAP).slice(0, KEPT - 1);
    const keys = [freshKey(this.#world, now), ...open];
    await writeKeys(this.#world, this.#path, keys);
    this.#keys = keys;
    this.#due = false;
    this.#statement = null;
    this.#index();
  }

  #index(): void {
    this.#ids = new Map(
      this.#keys.map((one) => {
        const id = idOf(one);
        return [id, { id, privateKey: fromHex(one.privateKey) }];
      }),
    );
  }
}

/** A file that is lost or damaged means new keys: messages under way are lost, and the schedule asks all the same. Errors: `disk/*`. */
export async function openMessageKeys(
  world: Pick<World, "disk" | "clock" | "random">,
  folder: string,
  identity: DeviceIdentity,
): Promise<MessageKeys> {
  const path = `${folder}/message-keys.json`;
  const bytes = await readOrNull(world.disk, path, LIMIT);
  let keys = bytes === null ? null : readKeys(bytes);
  if (keys === null) {
    keys = [freshKey(world, world.clock.now())];
    await makeDirectories(world.disk, folder, 0o700);
    await writeKeys(world, path, keys);
  }
  return new MessageKeys(world, path, identity, keys);
}

function readKeys(bytes: Uint8Array): readonly Kept[] | null {
  try {
    return checkSchema(schema, parseJson(bytes), "keys for messages").keys;
  } catch (error) {
    if (!(error instanceof UpkeepError)) throw error;
    return null;
  }
}

function writeKeys({ disk }: Pick<World, "disk">, path: string, keys: readonly Kept[]): Promise<void> {
  return writeAtomic(disk, path, toUtf8(`${JSON.stringify({ format: 1, keys })}\n`), 0o600);
}

function freshKey({ random }: Pick<World, "random">, now: Instant): Kept {
  const { privateKey } = hpkeKeysOf(random.bytes(HPKE_KEY_LENGTH));
  return { privateKey: toHex(privateKey), made: now, replaced: null, uses: 0 };
}

const ids = new WeakMap<object, string>();

function idOf(kept: Pick<Kept, "privateKey">): string {
  const known = ids.get(kept);
  if (known !== undefined) return known;
  const id = messageKeyId(publicKeyOf(fromHex(kept.privateKey)));
  ids.set(kept, id);
  return id;
}
