"""Drives behind an OpenList or AList server."""
