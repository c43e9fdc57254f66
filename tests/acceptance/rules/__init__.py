"""Rules, templates and defaults of users, seen from outside."""
