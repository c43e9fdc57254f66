"""Webhooks: what is sent, how it is signed, when it is tried again, and the loop that delivers it."""
