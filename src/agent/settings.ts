// What the operator of one device may set: never what runs, only how it is run here.

import { DAY, SECOND } from "../core/instant.ts";
import type { Json } from "../core/json.ts";
import { checkSchema, nameSchema, z } from "../core/schema.ts";

const seconds = (least: number, most: number) => z.number().check(z.int(), z.minimum(least), z.maximum(most));

export const settingsSchema = z.strictObject({
  /** Seconds between checks until the server names another interval. */
  interval: z.exactOptional(seconds(10, DAY / SECOND)),
  /** Upper bound of the random wait before the first check after a start. */
  startSpread: z.exactOptional(seconds(0, 3600)),
  /** Copies of the repository, asked when the server's own cannot be had or is older: addresses of folders that hold metadata/ and targets/. */
  mirrors: z.exactOptional(
    z
      .array(
        z
          .string()
          .check(
            z.regex(/^https?:\/\/[^\s?#@]+$/, "not an address such as https://mirror.example.org/upkeep/"),
          ),
      )
      .check(z.maxLength(16)),
  ),
  components: z.exactOptional(
    z.record(
      nameSchema,
      z.strictObject({
        /** Added to, and stronger than, the environment of the release. */
        env: z.exactOptional(
          z.record(
            z
              .string()
              .check(z.regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, "not a name of an environment variable")),
            z.string().check(z.maxLength(4096), z.regex(/^[^\0]*$/, "holds a NUL")),
          ),
        ),
        /** Seconds that the component has to end after SIGTERM. */
        stopSeconds: z.exactOptional(seconds(0, 3600)),
        /** Largest data folder that is copied before an update; 0 switches copies off. */
        snapshotBytes: z.exactOptional(z.number().check(z.int(), z.minimum(0))),
      }),
    ),
  ),
});
export type Settings = z.infer<typeof settingsSchema>;

export type ComponentSettings = {
  readonly env: Readonly<Record<string, string>>;
  readonly stopMs: number;
  readonly snapshotBytes: number;
};

export const DEFAULT_INTERVAL = 300;
export const DEFAULT_START_SPREAD = 2;

/** Errors: `schema/invalid`. */
export function parseSettings(value: Json): Settings {
  return checkSchema(settingsSchema, value, "settings of the agent");
}

export function componentSettings(settings: Settings, product: string): ComponentSettings {
  const own = settings.components?.[product];
  return {
    env: own?.env ?? {},
    stopMs: (own?.stopSeconds ?? 10) * SECOND,
    snapshotBytes: own?.snapshotBytes ?? 1024 ** 3,
  };
}
