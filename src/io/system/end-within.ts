// A program that was asked to stop ends, also when something in it never lets go.

/**
 * Ends this process with exit code 1 after `ms` milliseconds, unless it has ended by then; `say` is called before. A process that nothing holds
 * open ends earlier by itself.
 */
export function endWithin(ms: number, say: () => void): void {
  setTimeout(() => {
    say();
    process.exit(1);
  }, ms).unref();
}
