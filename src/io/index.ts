// Door of the io room for those who embed other rooms: the real disk, clock, random generator, sources and lock.
export { systemDisk } from "./disk.ts";
export { systemClock } from "./clock.ts";
export { systemRandom } from "./random.ts";
export { httpSource, type HttpSourceOptions, type TlsOptions } from "./http-source.ts";
export { diskSource } from "./disk-source.ts";
export { storeLock } from "./store-lock.ts";
export { publisherLock } from "./publisher-lock.ts";
