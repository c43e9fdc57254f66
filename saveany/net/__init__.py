"""Outgoing requests: HTTP clients, proxies, and the guard that limits which addresses are reached."""
