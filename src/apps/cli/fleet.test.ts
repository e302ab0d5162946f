// The choices that the command table writes out are those of the rooms.

import assert from "node:assert/strict";
import { it } from "node:test";
import { LIVENESS } from "../../fleet/liveness.ts";
import { HOLD_REASONS } from "../../message/assignment.ts";
import { OUTCOMES } from "../../report/report.ts";
import { CHOICES } from "./fleet.ts";

it("the fleet commands offer every hold, outcome and state there is", () => {
  assert.deepEqual(CHOICES, { holds: [...HOLD_REASONS], outcomes: [...OUTCOMES], states: [...LIVENESS] });
});
