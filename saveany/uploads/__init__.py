"""Files that are uploaded to this machine: receiving them, and resuming uploads that were interrupted."""
