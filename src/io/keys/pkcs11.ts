// A key on a PKCS#11 token behind the Signer port; the token's library runs in a process of its own, which it may crash or hang as it likes.

import { fork, type ChildProcess } from "node:child_process";
import { moduleBeside } from "../../core/module-beside.ts";
import { partArguments } from "../system/own-part.ts";
import { parseCertificate, type Certificate } from "../../der/x509.ts";
import { ArtifactError } from "../../artifact/errors.ts";
import { KeyError } from "../../keys/errors.ts";
import { publicKeyFromSpki, verifyWith } from "../../keys/public-key.ts";
import type { Scheme } from "../../keys/scheme.ts";
import type { Signer } from "../../keys/signer.ts";
import { createPublicKey } from "node:crypto";

export type TokenWish = {
  /** Absolute path of the library. */
  readonly module: string;
  /** Label of the token; the only one if not given. */
  readonly token?: string | undefined;
  /** Label of the private key; the only one if not given. */
  readonly key?: string | undefined;
  readonly pin: string;
};

export type OpenToken = {
  readonly signer: Signer;
  /** Certificates that the token keeps. */
  readonly certificates: readonly Certificate[];
  readonly close: () => Promise<void>;
};

export type ToWorker =
  | { readonly kind: "open"; readonly wish: TokenWish }
  | { readonly kind: "sign"; readonly id: number; readonly scheme: Scheme; readonly message: Uint8Array };
export type FromWorker =
  | {
      readonly kind: "opened";
      readonly spki: Uint8Array;
      readonly scheme: Scheme;
      readonly certificates: readonly Uint8Array[];
    }
  | { readonly kind: "signed"; readonly id: number; readonly signature: Uint8Array }
  | { readonly kind: "failed"; readonly id: number | null; readonly message: string };

/** A stuck token must not hang a build for ever; a person may have to touch it, so not too short either. */
const TIMEOUT_MS = 60_000;

/** Errors: `artifact/bad-key` when token, key or PIN do not fit, `artifact/unsupported` without the binding. */
export async function openToken(wish: TokenWish): Promise<OpenToken> {
  // The library may read its own settings from the environment; our secrets are none of its business.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("UPKEEP_")));
  const [first, ...more] = partArguments("pkcs11", moduleBeside("pkcs11-worker", import.meta.url));
  const child = fork(first!, more, {
    serialization: "advanced",
    env,
    stdio: ["ignore", "ignore", "inherit", "ipc"],
  });
  const waiting = new Map<
    number | "open",
    { resolve: (message: FromWorker) => void; reject: (error: Error) => void }
  >();
  child.on("message", (message: FromWorker) => {
    const id = message.kind === "opened" ? "open" : (message.id ?? "open");
    const waiter = waiting.get(id);
    waiting.delete(id);
    if (message.kind === "failed") waiter?.reject(new ArtifactError("artifact/bad-key", message.message, {}));
    else waiter?.resolve(message);
  });
  child.on("exit", (code, signal) => {
    for (const waiter of waiting.values())
      waiter.reject(
        new ArtifactError(
          "artifact/bad-key",
          `The process with the token's library ended (${signal ?? `code ${code ?? 0}`}).`,
          {},
        ),
      );
    waiting.clear();
  });
  const ask = (id: number | "open", message: ToWorker): Promise<FromWorker> =>
    new Promise((resolve, reject) => {
      if (!child.connected)
        return reject(new KeyError("key/cannot-sign", "The process with the token's library has ended."));
      const timer = setTimeout(() => {
        waiting.delete(id);
        reject(
          new ArtifactError(
            "artifact/bad-key",
            `The token did not answer within ${TIMEOUT_MS / 1000} seconds.`,
            {},
          ),
        );
        child.kill("SIGKILL");
      }, TIMEOUT_MS);
      const settle =
        <T>(act: (value: T) => void) =>
        (value: T): void => {
          clearTimeout(timer);
          act(value);
        };
      waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
      child.send(message);
    });
  try {
    const opened = await ask("open", { kind: "open", wish });
    if (opened.kind !== "opened")
      throw new ArtifactError("artifact/bad-key", "The token's process answered out of turn.", {});
    return {
      signer: signerOver(opened.spki, opened.scheme, ask),
      certificates: opened.certificates.map(parseCertificate),
      close: () => stop(child),
    };
  } catch (error) {
    await stop(child);
    throw error;
  }
}

function signerOver(
  spki: Uint8Array,
  scheme: Scheme,
  ask: (id: number, message: ToWorker) => Promise<FromWorker>,
): Signer {
  let last = 0;
  const publicKey = publicKeyFromSpki(spki, scheme);
  const object = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  return {
    publicKey,
    sign: async (message, wanted = scheme) => {
      const id = ++last;
      const reply = await ask(id, { kind: "sign", id, scheme: wanted, message });
      // Tokens make mistakes too (and some sign with another key than the label says): what does not verify is not passed on.
      if (reply.kind !== "signed" || !verifyWith(object, wanted, message, reply.signature)) {
        throw new KeyError(
          "key/cannot-sign",
          "The token returned a signature that its own public key does not verify.",
          { scheme: wanted },
        );
      }
      return reply.signature;
    },
  };
}

/** Asks the process to log out and end, and ends it if it does not. */
async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  if (child.connected) child.disconnect();
  const timer = setTimeout(() => child.kill("SIGKILL"), 3000);
  await gone;
  clearTimeout(timer);
}
