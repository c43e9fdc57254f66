"""Options of a `telegram` storage."""

from __future__ import annotations

import re
from typing import Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from saveany.texts import WrongValue
from storages.base import (
    StorageOptions,
)

#: The `chat_id` for files whose path begins with the id of their chat, which may be a private one.
FROM_PATH: Final = "*"
_CHAT_ID: Final = re.compile(r"\*|me|@?[A-Za-z]\w{3,31}|-?[1-9]\d*", re.ASCII)


class TelegramStorageOptions(StorageOptions):
    """Options of a `telegram` storage."""

    chat_id: str | int = Field(
        default="",
        description="Where files go: -100… of a channel or group, @name, the id of a user who has started "
        "the bot, `me` for the Saved Messages of a user account, or `*` for the chat whose id each path "
        "begins with.",
        examples=[-1001234567890],
    )
    chat_ids: tuple[str | int, ...] = Field(
        default=(),
        max_length=100,
        description="Several channels or groups, of which each is used until it is full (`max_messages`), "
        "after `chat_id`, if that is set.",
        examples=[[-1001234567890, -1001234567891]],
    )
    max_messages: int = Field(
        default=900_000,
        ge=0,
        description="Number of the message after which nothing is sent to a channel or group any more; "
        "Telegram shows only the last million. 0: no limit.",
    )
    topic: int | None = Field(
        default=None, ge=1, description="Topic of a forum, in the first chat.", examples=[5]
    )
    account: str = Field(
        default="", description="Account that sends. Empty: the bot, or the first user if there is none."
    )
    chat_in_path: bool = Field(
        default=False,
        description="Let a first folder named @name or -100… be the chat where a file goes instead.",
    )
    rate_limit: float = Field(default=2.0, ge=0, description="Seconds between two messages.")
    rate_burst: int = Field(default=1, ge=1, description="Messages that may be sent at once before that.")
    group_files: bool = Field(
        default=False,
        description="Send the files of a task as albums of up to ten, in their order. Then `rate_limit` is "
        "for albums. Videos among other files have no player.",
    )
    split_size_mb: int = Field(
        default=0,
        ge=0,
        description="Larger files become several messages, name.001 and so on, which `cat` joins. 0: only "
        "files that are larger than the account may send.",
    )
    skip_large: bool = Field(
        default=False,
        description="Refuse files that are larger than the account may send, instead of splitting them.",
    )
    send_as: Literal["document", "media"] = Field(
        default="document",
        description="`document`: files byte for byte, videos with a player. `media`: also photos, music and "
        "voice messages as such; Telegram compresses photos again.",
    )
    force_file: bool = Field(
        default=False, description="Send videos as plain files, without length, picture and player."
    )
    split_large_video: bool = Field(
        default=False,
        description="Cut larger videos at key frames, without encoding them again, into parts that play by "
        "themselves. Needs ffmpeg, and twice the space of the video in `data_dir`. Where it is not possible, "
        "they are split as other files.",
    )

    @property
    def chats(self) -> list[str]:
        """All chats, in the order of their use."""
        return list(dict.fromkeys(str(each) for each in (self.chat_id, *self.chat_ids) if each != ""))

    @field_validator("chat_id")
    @classmethod
    def _a_chat(cls, value: str | int) -> str | int:
        if not _CHAT_ID.fullmatch(str(value)):
            raise ValueError("chat_id must be me, @name, or a number such as -1001234567890")
        return value

    @field_validator("chat_ids")
    @classmethod
    def _chats(cls, values: tuple[str | int, ...]) -> tuple[str | int, ...]:
        for value in values:
            if str(value) in (FROM_PATH, "me") or not _CHAT_ID.fullmatch(str(value)):
                raise ValueError("chat_ids must be @names, or numbers such as -1001234567890")
        return values

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if not self.chats:
            raise WrongValue("set chat_id or chat_ids: the chat where files go")
        if len(self.chats) > 1 and self.chats[0] in (FROM_PATH, "me"):
            raise WrongValue("with several chats, chat_id must be a channel or group")
        if self.force_file and self.send_as == "media":
            raise WrongValue('force_file = true and send_as = "media" contradict each other: remove one')
        return self
