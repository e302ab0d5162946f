// How a database calls text that is compared byte by byte.

import type { RawBuilder } from "kysely";

export type TextType = "text" | RawBuilder<unknown>;
