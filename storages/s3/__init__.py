"""Buckets of Amazon S3 and compatible services: MinIO, R2, Backblaze, Garage, …"""
