"""The sandbox: a Telegram data center on loopback, tried with unmodified Telethon clients."""
