"""Serves saved files, and files in Telegram, over HTTP.

ranges       which bytes a request asks for (RFC 9110, section 14)
conditions   whether the client already has them, or must not get them (section 13)
"""
