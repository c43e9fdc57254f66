"""Everything that speaks to Telegram: links, accounts, messages and the downloader."""
