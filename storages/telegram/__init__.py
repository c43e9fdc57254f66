"""Chats of Telegram: every file becomes a message with a document of the same bytes."""
