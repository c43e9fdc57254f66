"""Requests that leave this service: the HTTP client and the guard over the addresses it may reach."""
