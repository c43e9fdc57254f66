"""The Telegram bot: saves files and manages tasks from a chat, with the services that the API uses."""
