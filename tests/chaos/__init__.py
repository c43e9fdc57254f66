"""Injects failures into a whole installation, then checks that no file was lost, duplicated or corrupted."""
