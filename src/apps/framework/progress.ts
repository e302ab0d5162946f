// A progress bar of one line, for terminals only.

export interface Progress {
  advance(by: number): void;
  /** Clears the line. */
  done(): void;
}

export const noProgress: Progress = { advance: () => {}, done: () => {} };

const REDRAW_MS = 80;

export function terminalProgress(
  stream: { write(text: string): unknown; readonly columns?: number },
  label: string,
  total: number,
): Progress {
  let value = 0;
  let drawn = 0;
  const draw = (): void => {
    const now = performance.now();
    if (now - drawn < REDRAW_MS && value < total) return;
    drawn = now;
    stream.write(`\r${progressLine(label, value, total, stream.columns ?? 80)}\u001b[K`);
  };
  draw();
  return {
    advance: (by) => {
      value += by;
      draw();
    },
    done: () => {
      stream.write("\r\u001b[K");
    },
  };
}

/** `packing  [######....]  57 %`, fitted to the width; a pure function of its arguments. */
export function progressLine(label: string, value: number, total: number, columns: number): string {
  const part = total <= 0 ? 1 : Math.min(1, Math.max(0, value / total));
  const percent = `${String(Math.floor(part * 100)).padStart(3)} %`;
  const room = Math.min(40, columns - label.length - percent.length - 7);
  if (room < 4) return `${label} ${percent}`.slice(0, Math.max(0, columns - 1));
  const filled = Math.round(room * part);
  return `${label}  [${"#".repeat(filled)}${".".repeat(room - filled)}]  ${percent}`;
}
