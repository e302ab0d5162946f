// What of a component's journal becomes a line of the local log.

import type { LogEvent } from "../history/record.ts";
import type { BeginEvent, EndEvent, JournalEvent } from "../slot/journal-event.ts";
import type { Component } from "./component.ts";

/** The line for an event that was just written to the journal; null for a step that the log does not have. */
export function lineOf(component: Component, event: JournalEvent): LogEvent | null {
  const { product, attempt } = component;
  switch (event.event) {
    case "begin":
      return beginLine(product, event);
    case "end":
      return attempt === null ? null : endLine(product, attempt.begin, event);
    case "rolling-back": {
      const { code, reason } = event;
      return { at: component.at(), event: "going-back", product, attempt: event.attempt, code, reason };
    }
    case "postponed":
      return { at: component.at(), event: "put-off", product, attempt: event.attempt };
    default:
      return null;
  }
}

/** The last attempt of each component: what a kill may have kept out of the log. */
export function lastAttempts(
  components: readonly Component[],
): readonly { readonly begin: LogEvent; readonly end: LogEvent | null }[] {
  return components.flatMap(({ product, attempt }) => {
    if (attempt === null) return [];
    const { begin, end } = attempt;
    return [{ begin: beginLine(product, begin), end: end === null ? null : endLine(product, begin, end) }];
  });
}

function beginLine(product: string, { attempt, at, from, to, manual, damage }: BeginEvent): LogEvent {
  const what = manual ? "rollback" : (damage ?? "update");
  return { at, event: "begin", product, attempt, from: from?.version ?? null, to: to.version, what };
}

function endLine(product: string, { from, to }: BeginEvent, event: EndEvent): LogEvent {
  const { attempt, at, end, step, code, reason, running, duration } = event;
  return {
    at,
    event: "end",
    product,
    attempt,
    from: from?.version ?? null,
    to: to.version,
    end,
    step,
    code,
    reason,
    running,
    duration,
  };
}
