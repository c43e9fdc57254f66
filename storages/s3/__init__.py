"""Buckets of Amazon S3 and of everything that speaks its protocol: MinIO, R2, Backblaze, Garage, …"""
