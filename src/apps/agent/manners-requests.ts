// What may be asked of a running agent about manners, over its control socket.

import type { Agent } from "../../agent/agent.ts";
import {
  answer,
  hold,
  lock,
  optIn,
  optOut,
  prompts,
  release,
  showPolicy,
  testPolicy,
  unlock,
} from "../../agent/owner.ts";
import { scopeSchema } from "../../agent/manners-memory.ts";
import { DAY, parseInstant, SECOND } from "../../core/instant.ts";
import type { Json } from "../../core/json.ts";
import { instantSchema, nameSchema, z } from "../../core/schema.ts";
import { LONGEST_LEASE } from "../../manners/locks.ts";
import { KINDS } from "../../manners/policy.ts";

const idSchema = z.string().check(z.minLength(1), z.maxLength(200));

export const mannersRequests = [
  z.strictObject({ do: z.literal("hold"), scope: scopeSchema, until: z.nullable(instantSchema) }),
  z.strictObject({ do: z.literal("release"), scope: scopeSchema }),
  z.strictObject({ do: z.literal("opt-out"), scope: scopeSchema }),
  z.strictObject({ do: z.literal("opt-in"), scope: scopeSchema }),
  z.strictObject({ do: z.literal("prompts"), language: z.exactOptional(z.string().check(z.maxLength(16))) }),
  z.strictObject({
    do: z.literal("answer"),
    id: idSchema,
    choice: z.enum(["accept", "later", "skip"]),
    seconds: z.exactOptional(z.number().check(z.int(), z.minimum(1), z.maximum((30 * DAY) / SECOND))),
  }),
  z.strictObject({
    do: z.literal("lock"),
    product: nameSchema,
    holder: idSchema,
    seconds: z.exactOptional(z.number().check(z.int(), z.minimum(1), z.maximum(LONGEST_LEASE))),
    why: z.exactOptional(z.string().check(z.maxLength(200))),
  }),
  z.strictObject({ do: z.literal("unlock"), product: nameSchema, holder: idSchema }),
  z.strictObject({ do: z.literal("policy") }),
  z.strictObject({
    do: z.literal("policy-test"),
    at: instantSchema,
    product: z.exactOptional(nameSchema),
    kind: z.exactOptional(z.enum(KINDS)),
  }),
] as const;
const mannersRequestSchema = z.discriminatedUnion("do", mannersRequests);
export type MannersRequest = z.infer<typeof mannersRequestSchema>;

const WORDS: ReadonlySet<string> = new Set(
  mannersRequests.flatMap((schema) => [...schema.shape.do._zod.values].map(String)),
);

export function isMannersRequest<T extends { readonly do: string }>(
  asked: T,
): asked is Extract<T, { do: MannersRequest["do"] }> {
  return WORDS.has(asked.do);
}

/** What is said takes effect at once: an update whose wait ends by it is activated within seconds. */
export async function obeyManners(agent: Agent, asked: MannersRequest): Promise<Json> {
  const said = await act(agent, asked);
  await agent.board.write();
  return said;
}

async function act(agent: Agent, asked: MannersRequest): Promise<Json> {
  switch (asked.do) {
    case "hold":
      return (await hold(
        agent,
        asked.scope,
        asked.until === null ? null : parseInstant(asked.until),
      )) as unknown as Json;
    case "release":
      return (await release(agent, asked.scope)) as unknown as Json;
    case "opt-out":
      return (await optOut(agent, asked.scope)) as unknown as Json;
    case "opt-in":
      return (await optIn(agent, asked.scope)) as unknown as Json;
    case "prompts":
      return (await prompts(agent, asked.language)) as unknown as Json;
    case "answer": {
      const ms = asked.seconds === undefined ? undefined : asked.seconds * SECOND;
      return (await answer(agent, asked.id, asked.choice, ms)) as unknown as Json;
    }
    case "lock": {
      const { seconds, why } = asked;
      await lock(agent, asked.product, asked.holder, {
        ...(seconds === undefined ? {} : { lease: seconds }),
        ...(why === undefined ? {} : { why }),
      });
      return { product: asked.product, holder: asked.holder };
    }
    case "unlock":
      return { released: await unlock(agent, asked.product, asked.holder) };
    case "policy":
      return (await showPolicy(agent)) as unknown as Json;
    case "policy-test": {
      const { product, kind } = asked;
      const only = { ...(product === undefined ? {} : { product }), ...(kind === undefined ? {} : { kind }) };
      return (await testPolicy(agent, parseInstant(asked.at), only)) as unknown as Json;
    }
  }
}
