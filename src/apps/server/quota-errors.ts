// What is said to who asked too often.

import { HttpError } from "../../io/http/errors.ts";

export function tooMany(what: string, waitMs: number): HttpError {
  const seconds = Math.max(1, Math.ceil(waitMs / 1000));
  return new HttpError(
    "http/too-many",
    `Too many ${what}; try again in ${seconds} s.`,
    { seconds },
    { headers: { "retry-after": String(seconds) } },
  );
}
