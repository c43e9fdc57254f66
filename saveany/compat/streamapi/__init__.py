"""The API of StreamAPI: sessions are chats that are recorded when they go live."""
