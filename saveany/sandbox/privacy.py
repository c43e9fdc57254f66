"""The messages that a bot sees in groups (https://core.telegram.org/bots/features#privacy-mode)."""

from typing import Any

from telethon.tl import types as tl

from saveany.sandbox.model import Chat, SandboxAccount, StoredMessage


def is_visible(account: SandboxAccount, chat: Chat, message: StoredMessage) -> bool:
    """Whether a member of a chat can see a message.

    In groups, a bot in privacy mode sees only service messages, commands, mentions and replies to its
    messages.
    """
    group = chat.group or not (chat.broadcast or chat.private)
    if not group or not account.bot or account.reads_groups or chat.is_administered_by(account.id):
        return True
    replied_to = chat.messages.get(message.reply_to or 0)
    reply = replied_to is not None and replied_to.sender == account.id
    return message.service or message.sender == account.id or reply or addressed(account, message)


def addressed(account: SandboxAccount, message: StoredMessage) -> bool:
    """Whether a text mentions an account, or is a command for any bot or for this one."""
    name = f"@{account.username.lower()}"
    for entity in message.entities:
        text = entity_text(message.text, entity).lower()
        if isinstance(entity, tl.MessageEntityMention) and text == name:
            return True
        if isinstance(entity, tl.MessageEntityMentionName) and entity.user_id == account.id:
            return True
        if isinstance(entity, tl.MessageEntityBotCommand) and account.bot and _for(name, text):
            return True
    return False


def _for(name: str, command: str) -> bool:
    return "@" not in command or command.endswith(name)


def entity_text(text: str, entity: Any) -> str:
    """The text of an entity, whose offset and length are counted in UTF-16 code units."""
    units = text.encode("utf-16-le")
    return units[2 * entity.offset : 2 * (entity.offset + entity.length)].decode("utf-16-le", "replace")
