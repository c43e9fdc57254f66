"""The sandbox, a Telegram data center on loopback, tested with unmodified Telethon clients."""
