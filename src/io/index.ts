// Door of the io room for those who embed other rooms: the real disk, clock, random generator, sources and lock.
export { systemDisk } from "./system/disk.ts";
export { systemClock } from "./system/clock.ts";
export { systemRandom } from "./system/random.ts";
export { httpSource, type HttpSourceOptions, type TlsOptions } from "./source/http.ts";
export { diskSource } from "./source/disk.ts";
export { storeLock } from "./system/store-lock.ts";
export { publisherLock } from "./system/publisher-lock.ts";
