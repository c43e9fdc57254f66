"""FTP servers, with or without TLS."""
