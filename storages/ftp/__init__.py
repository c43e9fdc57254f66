"""Any FTP server, with or without TLS."""
