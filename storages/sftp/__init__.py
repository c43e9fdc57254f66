"""Machines with SSH, through SFTP."""
