"""The sandbox: a Telegram data centre on loopback, tried with unmodified Telethon clients."""
