"""Texts and messages of the bot."""
