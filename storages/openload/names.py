"""File names as these services can hold them."""

from __future__ import annotations

from typing import Final

from storages.names import Encoder

#: Characters that some services change in the file name of a multipart form.
NAMES: Final = Encoder("".join(map(chr, range(1, 32))) + '\x7f"\\', edges=" ")
