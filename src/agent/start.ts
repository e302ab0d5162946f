// What the agent does before anything else: looks at itself, and clears away what nobody is about.

import { removeTree } from "../core/disk.ts";
import type { Component } from "./component.ts";
import { AgentError, sentenceOf } from "./errors.ts";
import type { World } from "./ports.ts";

/** Who checks others begins with itself. An agent whose own image is not as it was published starts nothing. Errors: `agent/self-check-failed`. */
export async function checkSelf({ selfCheck }: World): Promise<void> {
  try {
    await selfCheck?.();
  } catch (cause) {
    throw new AgentError(
      "agent/self-check-failed",
      "The agent's own program is not as it was published: either somebody changed it, or the disk is failing. It does nothing.",
      {},
      { cause, hint: "Install the agent again from a trusted place." },
    );
  }
}

/** Removes downloads that no attempt of any component is about. Errors: `disk/*`. */
export async function collectDownloads(
  world: World,
  folder: string,
  components: readonly Component[],
): Promise<void> {
  const wanted = new Set(components.map((component) => component.attempt?.begin.to.sha256));
  for (const name of await world.disk.list(`${folder}/download`)) {
    if (wanted.has(name.slice(0, 64))) continue;
    await removeTree(world.disk, `${folder}/download/${name}`).catch((error: unknown) => {
      world.log({ level: "warn", event: "download-stays", name, message: sentenceOf(error) });
    });
  }
}
