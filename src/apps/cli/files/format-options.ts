// Options of `sign` and `verify` that only some formats understand, and what they turn into.

import type { SignOptions } from "../../../artifact/format.ts";
import type { ElfExpectation } from "../../../artifact/elf/manifest.ts";
import type { Call, OptionSpec } from "../../framework/command.ts";
import { usage } from "../../framework/errors.ts";

const MAX_RELEASE = 2 ** 48 - 1;

export const SIGN_FORMAT_OPTIONS: readonly OptionSpec[] = [
  { flags: "--product <name>", about: "Linux programs: which product the file is" },
  { flags: "--release-version <version>", about: "Linux programs: its version" },
  { flags: "--release-number <n>", about: "Linux programs: a number that grows with every release" },
  { flags: "--channel <name>", about: "Linux programs: the channel it was made for" },
  { flags: "--require-stripped", about: "Linux programs: refuse one that has symbols or debug information" },
  { flags: "--kernel", about: "Linux programs: sign as kernel modules are, without a manifest" },
  { flags: "--installer-metadata", about: "MSI: cover names, sizes and times of streams as well" },
  { flags: "--detached", about: "any file: leave it as it is, write the signature to FILE.sig" },
];

export const VERIFY_FORMAT_OPTIONS: readonly OptionSpec[] = [
  { flags: "--product <name>", about: "Linux programs: it has to be this product" },
  { flags: "--minimum-release <n>", about: "Linux programs: refuse a lower release number" },
  {
    flags: "--platform <os/arch>",
    about: "Linux programs: it has to be for this machine, such as linux/x64",
  },
  { flags: "--require-stripped", about: "Linux programs: refuse one that has symbols or debug information" },
  {
    flags: "--signer-cert <file>",
    about: "the signer's certificate, where a signature does not bring it along",
    repeat: true,
  },
  {
    flags: "--catalog <file>",
    about: "any file: trust this catalog about it, whatever signatures are in the file",
  },
  { flags: "--detached", about: "look at FILE.sig only, whatever is in the file" },
  { flags: "--signature <file>", about: "the same with another name for the signature" },
];

/** Errors: `cli/usage`. */
export function signOptions(call: Call): SignOptions {
  const [product, version] = [call.text("product"), call.text("release-version")];
  const [release, channel] = [call.whole("release-number", 0, MAX_RELEASE), call.text("channel")];
  const given = [product, version, release].filter((value) => value !== undefined).length;
  if (given > 0 && given < 3) throw usage("--product, --release-version and --release-number go together.");
  if (given > 0 && call.flag("kernel"))
    throw usage("The kernel's form says nothing about product, version and release.");
  return {
    ...(product === undefined || version === undefined || release === undefined
      ? {}
      : { identity: { product, version, release, ...(channel === undefined ? {} : { channel }) } }),
    plain: call.flag("kernel"),
    requireStripped: call.flag("require-stripped"),
    installerMetadata: call.flag("installer-metadata"),
  };
}

/** Errors: `cli/usage`. */
export function expectation(call: Call): ElfExpectation {
  const [product, minimumRelease] = [call.text("product"), call.whole("minimum-release", 0, MAX_RELEASE)];
  const [os, arch, ...more] = call.text("platform")?.split("/") ?? [];
  if (os !== undefined && (os === "" || arch === undefined || arch === "" || more.length > 0)) {
    throw usage("--platform is written as linux/x64.");
  }
  return {
    ...(product === undefined ? {} : { product }),
    ...(minimumRelease === undefined ? {} : { minimumRelease }),
    ...(os === undefined ? {} : { platform: { os, arch: arch! } }),
    requireStripped: call.flag("require-stripped"),
  };
}
