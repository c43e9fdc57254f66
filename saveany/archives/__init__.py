"""Archives: whole chats are read, and every message with files becomes part of a task."""
