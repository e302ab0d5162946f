// The streams and surroundings that one run of a program is given.

/** The streams and surroundings of one run of the program. */
export type Terminal = {
  readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean; readonly columns?: number };
  readonly stderr: { write(text: string): unknown; readonly isTTY?: boolean; readonly columns?: number };
  readonly stdin: NodeJS.ReadStream;
  readonly env: { readonly [name: string]: string | undefined };
  /** Null where nobody says which folder that is. */
  readonly home: string | null;
  /** Called once when a program that runs all the time serves. */
  readonly ready?: () => void;
};
