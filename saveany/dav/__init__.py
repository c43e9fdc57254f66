"""The drive: the saved files of a user as a read-only WebDAV (RFC 4918, class 1)."""
