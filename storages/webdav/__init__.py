"""Folders of WebDAV servers (RFC 4918): Nextcloud, a NAS, mod_dav, nginx, `rclone serve webdav`, …"""
