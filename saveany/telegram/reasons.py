"""Why a message has no file that can be saved. The receipts of archives recognize these texts."""

from __future__ import annotations

from saveany.texts import gettext_noop

MESSAGE_GONE = gettext_noop("Message {message} does not exist: it was deleted, or the link is wrong.")
FILE_EXPIRED = gettext_noop("The message's file has expired; Telegram does not have it any more.")
STORY_EXPIRED = gettext_noop("The story that the message quotes has expired, or this account may not see it.")
PHOTO_GONE = gettext_noop("The profile photo was deleted, or this account may not see it.")
FILE_PROTECTED = gettext_noop(
    "The chat of this file may not be copied within Telegram. Choose another way to copy to save it."
)
FILES_LOCKED = gettext_noop(
    "The media of message {message} costs {price} and has not been bought. Buy it in Telegram with a user "
    "account that is logged in here, and send the link again."
)
