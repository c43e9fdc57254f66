"""Readers of logins, one module per program."""
