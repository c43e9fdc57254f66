"""The bot on a real Valkey, and in the sandbox."""
