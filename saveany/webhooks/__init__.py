"""Webhooks: their bodies, signatures and retries, and the loop that delivers them."""
