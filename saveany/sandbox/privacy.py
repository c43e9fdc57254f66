"""What a bot reads in groups (https://core.telegram.org/bots/features#privacy-mode)."""

from typing import Any

from telethon.tl import types as tl

from saveany.sandbox.model import Chat, SandboxAccount, StoredMessage


def meant_for(account: SandboxAccount, chat: Chat, message: StoredMessage) -> bool:
    """Whether a message in a chat is shown to a member.

    A bot in privacy mode reads of a group: service messages, commands, mentions, and answers to its messages.
    """
    group = chat.group or not (chat.broadcast or chat.private)
    if not group or not account.bot or account.reads_groups or chat.governed_by(account.id):
        return True
    answered = chat.messages.get(message.reply_to or 0)
    reply = answered is not None and answered.sender == account.id
    return message.service or message.sender == account.id or reply or addressed(account, message)


def addressed(account: SandboxAccount, message: StoredMessage) -> bool:
    """Whether a text names an account, or is a command that any bot, or this one, may take."""
    name = f"@{account.username.lower()}"
    for entity in message.entities:
        said = cut(message.text, entity).lower()
        if isinstance(entity, tl.MessageEntityMention) and said == name:
            return True
        if isinstance(entity, tl.MessageEntityMentionName) and entity.user_id == account.id:
            return True
        if isinstance(entity, tl.MessageEntityBotCommand) and account.bot and _for(name, said):
            return True
    return False


def _for(name: str, command: str) -> bool:
    return "@" not in command or command.endswith(name)


def cut(text: str, entity: Any) -> str:
    """The text of an entity, whose place is counted in UTF-16 units."""
    units = text.encode("utf-16-le")
    return units[2 * entity.offset : 2 * (entity.offset + entity.length)].decode("utf-16-le", "replace")
