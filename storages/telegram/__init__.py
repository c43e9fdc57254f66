"""Chats of Telegram: every file becomes a message, or several if it is too large for one."""
