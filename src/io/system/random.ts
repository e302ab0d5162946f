// The system's random generator.

import { randomBytes } from "node:crypto";
import type { Random } from "../../core/random.ts";

export const systemRandom: Random = { bytes: (length) => new Uint8Array(randomBytes(length)) };
