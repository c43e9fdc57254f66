"""A chat of the sandbox as a place where files go."""

from __future__ import annotations

from saveany.sandbox import content
from saveany.sandbox.samples import BOT
from saveany.sandbox.world import Chat, StoredFile
from tests.chaos.shelves import Shelf

_ID = 1600000009


class Room(Shelf):
    """What is in the chat, by caption. What was sent twice shows under two names."""

    def __init__(self) -> None:
        table = {"name": "telegram", "type": "telegram", "chat_id": int(f"-100{_ID}"), "rate_limit": 0}
        super().__init__(table, resumes=False)
        self.chat = Chat(id=_ID, title="Saved", members={BOT.id})

    def look(self) -> dict[str, int]:
        return {path: file.content.size for path, file in self._files().items()}

    def sha256(self, path: str) -> str:
        return content.sha256(self._files()[path].content)

    def _files(self) -> dict[str, StoredFile]:
        found: dict[str, StoredFile] = {}
        for message in list(self.chat.messages.values()):
            if message.file:
                name, _, folder = message.text.partition("\n")
                path = f"{folder}/{name}"
                found[f"{path} again" if path in found else path] = message.file
        return found
