"""Turns requests into files with names and paths: the part of a task that needs no I/O."""
