// The table of tags and attributes, as the step that made it.

import type { RawBuilder, SchemaModule } from "kysely";

export interface LabelTables {
  device_label: { device: string; labels_json: string };
}

export async function makeLabelTables(
  { schema }: { readonly schema: SchemaModule },
  text: "text" | RawBuilder<unknown>,
): Promise<void> {
  await schema
    .createTable("device_label")
    .addColumn("device", text, (c) => c.primaryKey().references("device.id"))
    .addColumn("labels_json", text, (c) => c.notNull())
    .execute();
}
