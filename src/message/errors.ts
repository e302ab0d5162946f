// Why a message between device and server was refused.

import { REFUSED, UpkeepError, type Traits } from "../core/errors.ts";

export type MessageErrorCode =
  | "message/too-large"
  | "message/cannot-seal"
  | "message/refused"
  | "message/wrong-device"
  | "message/wrong-nonce"
  | "message/expired"
  | "message/from-the-future";
export const MESSAGE_ERRORS = {
  "message/too-large": REFUSED,
  "message/cannot-seal": REFUSED,
  "message/refused": REFUSED,
  "message/wrong-device": REFUSED,
  "message/wrong-nonce": REFUSED,
  "message/expired": REFUSED,
  "message/from-the-future": REFUSED,
} satisfies Traits<MessageErrorCode>;

export class MessageError extends UpkeepError<MessageErrorCode> {
  protected override get traits(): Traits<MessageErrorCode> {
    return MESSAGE_ERRORS;
  }
}
