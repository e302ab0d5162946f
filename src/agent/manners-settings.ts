// What `agent.toml` says about manners: the owner's own policy, hooks that are asked, and budgets of work in the background.

import { z, nameSchema } from "../core/schema.ts";
import { zoneSchema } from "../manners/hours.ts";
import { lineSchema, MAX_LINES } from "../manners/policy.ts";

const word = z.string().check(z.maxLength(4096), z.regex(/^[^\0]*$/, "holds a NUL"));

/** Program with its absolute path first, then its arguments: no shell. */
const commandSchema = z.array(word).check(
  z.minLength(1),
  z.maxLength(64),
  z.refine(([program]) => program?.startsWith("/") === true, "the first word must be an absolute path"),
);

const interlockSchema = z.strictObject({
  name: nameSchema,
  command: commandSchema,
  /** All products when absent. */
  products: z.exactOptional(z.array(nameSchema).check(z.minLength(1), z.maxLength(64))),
  timeoutSeconds: z.exactOptional(z.number().check(z.int(), z.minimum(1), z.maximum(300))),
});
export type InterlockSettings = Readonly<z.infer<typeof interlockSchema>>;

const languageSchema = z.string().check(z.regex(/^[a-z]{2,3}$/, "expected a language such as de"));

export const ownPolicySchema = z.strictObject({
  /** Of hours that name no zone; the machine's own when absent. */
  zone: z.exactOptional(zoneSchema),
  lines: z.exactOptional(z.array(lineSchema).check(z.maxLength(MAX_LINES))),
  /** Which links are metered: what the system says, always, never, or names of interfaces. */
  metered: z.exactOptional(
    z.union([
      z.enum(["system", "always", "never"]),
      z
        .array(z.string().check(z.regex(/^[^/\s\0]{1,15}$/, "expected the name of a network interface")))
        .check(z.maxLength(16)),
    ]),
  ),
  interlocks: z.exactOptional(z.array(interlockSchema).check(z.maxLength(16))),
  /** An executable that shows prompts and warnings to the people at this machine. */
  prompt: z.exactOptional(
    z.strictObject({
      command: commandSchema,
      timeoutSeconds: z.exactOptional(z.number().check(z.int(), z.minimum(5), z.maximum(3600))),
    }),
  ),
  /** Of prompts and warnings; that of the machine when absent. */
  language: z.exactOptional(languageSchema),
});
