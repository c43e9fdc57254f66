"""Backup and restore of an installation: the catalogue, Redis, the configuration, and on request the logins.

`saveany.backup.make.make_backup` and `saveany.backup.restore.restore_backup` are the entry points. Saved
files are not part of a backup: they are in the storages.
"""
