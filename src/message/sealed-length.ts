// How long every sealed message is, for what carries them and reads none.

/** Header of 20 bytes, encapsulated key of 32, text of 768, tag of 16 (spec/message.md). */
export const SEALED_LENGTH = 836;
