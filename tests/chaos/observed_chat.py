"""A chat of the sandbox as a storage."""

from __future__ import annotations

from saveany.sandbox import content
from saveany.sandbox.samples import BOT
from saveany.sandbox.world import Chat, StoredFile
from tests.chaos.observed_storages import ObservedStorage

_ID = 1600000009


class ObservedChat(ObservedStorage):
    """The files in the chat, by the path in their captions. A file that was sent twice has two paths."""

    def __init__(self) -> None:
        table = {"name": "telegram", "type": "telegram", "chat_id": int(f"-100{_ID}"), "rate_limit": 0}
        super().__init__(table, resumes=False)
        self.chat = Chat(id=_ID, title="Saved", members={BOT.id})

    def files_by_path(self) -> dict[str, int]:
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
