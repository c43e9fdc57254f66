"""A chat of Telegram: every file is a message there, byte for byte, as a document."""
