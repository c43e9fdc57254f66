"""The meanings of errors of the operating system."""

from __future__ import annotations

import errno
from typing import Final

from saveany.errors import NoSpace, StorageError, StorageUnavailable, UnsafePath
from saveany.texts import Text

#: What is wrong with a path that contains a symbolic link.
LINK: Final = Text("is a symbolic link; none is followed inside a storage")
#: For each error number, the class of the error, and what is wrong and what to do.
MEANINGS: Final[dict[int, tuple[type[StorageError], Text]]] = {
    errno.ENOSPC: (NoSpace, Text("the disk is full; free some space")),
    errno.EDQUOT: (NoSpace, Text("the disk quota is used up; free some space")),
    errno.EFBIG: (StorageError, Text("too large for this file system (FAT32 ends at 4 GiB)")),
    errno.EACCES: (
        StorageUnavailable,
        Text(
            "no permission; give the folder to the user SaveAny runs as (chown, or PUID and PGID in Docker)"
        ),
    ),
    errno.EROFS: (StorageUnavailable, Text("the disk is mounted read-only")),
    errno.EIO: (StorageUnavailable, Text("the disk reports an input/output error; see the system log")),
    errno.ESTALE: (StorageUnavailable, Text("the network disk has lost this file or folder; mount it again")),
    errno.ENOENT: (StorageError, Text("does not exist")),
    errno.ENOTDIR: (StorageError, Text("a file stands where a folder is needed")),
    errno.EISDIR: (StorageError, Text("a folder stands where a file is needed")),
    errno.ENAMETOOLONG: (UnsafePath, Text("the name is too long for this disk")),
    errno.ELOOP: (UnsafePath, LINK),
}
MEANINGS[errno.EPERM] = MEANINGS[errno.EACCES]
for _gone in (errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.ETIMEDOUT):
    MEANINGS[_gone] = (StorageUnavailable, Text("the disk cannot be reached; is it mounted?"))
