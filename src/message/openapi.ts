// The OpenAPI 3.1 description of the HTTP interface, made from the route table that the server runs on.

import { z, type Schema } from "../core/schema.ts";
import { failureSchema, ROUTES, WAKE_PATH } from "./routes.ts";
import { wakeSchema } from "./wake.ts";

type Described = { readonly [name: string]: unknown };

/** `version` is that of the program. */
export function openApi(version: string): Described {
  const paths: { [path: string]: Described } = {};
  for (const [name, row] of Object.entries(ROUTES)) {
    paths[row.path] = {
      post: {
        operationId: name,
        summary: row.summary,
        ...(row.caller === "anyone" ? { security: [] } : { security: [{ device: [] }] }),
        requestBody: { required: true, content: json(row.request as Schema<unknown>) },
        responses: {
          200: { description: "Done.", content: json(row.answer as Schema<unknown>) },
          default: failure,
        },
      },
    };
  }
  paths[WAKE_PATH] = {
    get: {
      operationId: "wake",
      summary: "Wait for a wake-up: a stream of server-sent events, or with `wait` a long poll.",
      security: [{ device: [] }],
      parameters: [
        query("after", "The newest sequence number the device has seen.", "^(?:0|[1-9][0-9]{0,14})$"),
        query("wait", "Seconds to wait, 1 to 300; makes it a long poll.", "^[1-9][0-9]{0,2}$"),
      ],
      responses: {
        200: {
          description: "A wake-up, or the stream of them (event `check`, id = seq).",
          content: { ...json(wakeSchema as Schema<unknown>), "text/event-stream": {} },
        },
        204: { description: "No wake-up came within `wait` seconds." },
        default: failure,
      },
    },
  };
  for (const [path, what] of [
    ["/repository/metadata/{path}", "TUF metadata."],
    ["/repository/targets/{path}", "TUF targets, with hash prefixes."],
  ] as const) {
    paths[path] = {
      get: {
        summary: what,
        security: [],
        parameters: [{ name: "path", in: "path", required: true, schema: { type: "string" } }],
        responses: {
          200: { description: "The file." },
          206: { description: "The one range asked for." },
          304: { description: "Unchanged." },
          default: failure,
        },
      },
    };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Upkeep update server",
      version,
      description:
        "No message to a device can carry a location, a version to run unsigned, or a command. Device calls need mutual TLS.",
    },
    paths,
    components: { securitySchemes: { device: { type: "mutualTLS" } } },
  };
}

const failure = {
  description:
    "Refused or failed; `code` is stable, `message` is for people, `request` names the line in the server's log.",
  content: json(failureSchema as Schema<unknown>),
};

function query(name: string, description: string, pattern: string): Described {
  return { name, in: "query", required: false, description, schema: { type: "string", pattern } };
}

function json(schema: Schema<unknown>): Described {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { unrepresentable: "any" });
  return { "application/json": { schema: rest } };
}
