"""Every remote of the user's rclone.conf: Drive, OneDrive, Dropbox, SMB and seventy more."""
