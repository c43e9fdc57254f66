"""The bot: what it says and shows."""
