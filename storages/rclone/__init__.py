"""Remotes of rclone: Drive, OneDrive, Dropbox, SMB and seventy more."""
