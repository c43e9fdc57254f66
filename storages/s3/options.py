"""Options of an `s3` storage."""

from __future__ import annotations

import re
from typing import Final

from pydantic import Field, SecretStr, field_validator

from storages.base import (
    StorageOptions,
)

MIB: Final = 1 << 20
_BUCKET: Final = re.compile(r"[\w.-]{1,255}|arn:\S+", re.ASCII)
_ENDPOINT: Final = re.compile(r"((https?://)?([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/\S*)?)?")


class S3Options(StorageOptions):
    """Options of an `s3` storage."""

    endpoint: str = Field(
        default="",
        description="Address of the service, as in s3.eu-central-1.amazonaws.com or http://minio:9000. "
        "Empty: Amazon, by the region.",
        examples=["https://s3.example.com"],
    )
    region: str = Field(default="us-east-1", description="Region of the bucket; auto for Cloudflare R2.")
    access_key_id: str = Field(
        default="", description="Access key. Empty: the one of the environment, ~/.aws or the machine's role."
    )
    secret_access_key: SecretStr = Field(default=SecretStr(""), description="Secret of the access key.")
    session_token: SecretStr = Field(default=SecretStr(""), description="For temporary access keys.")
    bucket_name: str = Field(min_length=1, description="The bucket; it must exist.", examples=["archive"])
    base_path: str = Field(default="", description="Folder inside the bucket.", examples=["telegram"])
    virtual_host: bool = Field(
        default=False, description="Put the bucket's name into the host name, as Amazon and Aliyun require."
    )
    use_ssl: bool = Field(default=True, description="Use https if the endpoint has no scheme.")
    part_size: int = Field(
        default=5, ge=5, le=1024, description="MiB per part. Four parts of a file are held in memory."
    )

    @field_validator("endpoint")
    @classmethod
    def _an_address(cls, value: str) -> str:
        if not _ENDPOINT.fullmatch(value):
            raise ValueError("must be a host, as in minio:9000, or begin with http:// or https://")
        return value

    @field_validator("bucket_name")
    @classmethod
    def _a_bucket(cls, value: str) -> str:
        if not _BUCKET.fullmatch(value):
            raise ValueError("must be the name of a bucket, without a folder: that is base_path")
        return value


class MinioOptions(S3Options):
    """Options of a `minio` storage, as in older configurations."""


def endpoint_url(options: S3Options) -> str:
    """The URL of the service, "" for Amazon."""
    if not options.endpoint or "://" in options.endpoint:
        return options.endpoint
    return f"{'https' if options.use_ssl else 'http'}://{options.endpoint}"
