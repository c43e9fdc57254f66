"""Access hashes and file references: the numbers and bytes that an account must send to name something.

They are computed from the account and the thing, so that nothing is stored and they survive a restart.
"""

import hashlib
import hmac
import struct

from saveany.sandbox.model import SandboxAccount, StoredFile


def access_hash(account: SandboxAccount, id_: int) -> int:
    """The 64-bit number that only this account can use to name a chat, user or file."""
    digest = hashlib.sha256(b"access hash %d %d" % (account.id, id_)).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


def file_reference(account: SandboxAccount, file: StoredFile, generation: int | None = None) -> bytes:
    """The file reference that this account needs to read the file; it changes when references expire."""
    number = file.generation if generation is None else generation
    label = struct.pack("<I", number)
    return label + hmac.digest(b"%d" % account.id, b"%d %s" % (file.id, label), "sha256")[:12]


def reference_fault(account: SandboxAccount, file: StoredFile, reference: bytes) -> str:
    """Why a file reference is wrong, as in Telegram's errors: EXPIRED, or INVALID if it was never right."""
    number = int.from_bytes(reference[:4], "little")
    genuine = number < file.generation and reference == file_reference(account, file, number)
    return "EXPIRED" if genuine else "INVALID"
