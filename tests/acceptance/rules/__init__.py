"""Rules, templates and defaults of users, tested over HTTP."""
