// Why a message between device and server was refused.

import { UpkeepError } from "../core/errors.ts";

export type MessageErrorCode =
  | "message/too-large"
  | "message/wrong-device"
  | "message/wrong-nonce"
  | "message/expired"
  | "message/from-the-future";
export class MessageError extends UpkeepError<MessageErrorCode> {}
