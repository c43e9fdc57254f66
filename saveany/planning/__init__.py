"""From a request to files with names and paths: everything about a task that needs no I/O."""
