// What the owner of a device decides about single components: uninstall, and take that back.

import type { CheckResult } from "../../agent/check-result.ts";
import type { ComponentResult } from "../../agent/update-component.ts";
import type { Call, Result } from "../framework/command.ts";
import { EXIT } from "../framework/exit-codes.ts";
import { askOrDo, quietLogOf, resultOfCheck } from "./run-commands.ts";

export async function agentUninstall(call: Call): Promise<Result> {
  const { context } = call;
  const [product, purge] = [call.argument(0), call.flag("purge")];
  const result = (await askOrDo(call, { do: "uninstall", product, purge }, async () => {
    const { uninstallOnce } = await import("./serve.ts");
    const options = { folder: context.data, log: quietLogOf(call), environment: context.terminal.env };
    return uninstallOnce(options, product, purge, context.signal);
  })) as unknown as ComponentResult;
  return {
    text: `${product}: ${result.reason}`,
    json: { ...result, result: "uninstalled", purged: purge },
    exit: EXIT.ok,
  };
}

export async function agentInstall(call: Call): Promise<Result> {
  const { context } = call;
  const product = call.argument(0);
  const result = (await askOrDo(call, { do: "take-back", product }, async () => {
    const { takeBackOnce } = await import("./serve.ts");
    const options = { folder: context.data, log: quietLogOf(call), environment: context.terminal.env };
    return takeBackOnce(options, product, context.signal);
  })) as unknown as CheckResult;
  return resultOfCheck({ ...result, components: result.components.filter((one) => one.product === product) });
}
