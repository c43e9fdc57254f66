"""The bot with a real Valkey and the sandbox."""
