"""The reference for S3: boto3's transfer manager, which `aws s3 cp` uses. It runs in a separate process.

`python -m bench.boto up|down ENDPOINT KEY SECRET BUCKET FILE NAME` prints the seconds taken.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import boto3  # type: ignore[import-untyped]  # has no types


def main(way: str, endpoint: str, key: str, secret: str, bucket: str, file: str, name: str) -> None:
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )
    client.head_bucket(Bucket=bucket)
    began = time.monotonic()
    if way == "up":
        client.upload_file(file, bucket, name)
    else:
        with Path(file).open("wb") as out:
            client.download_fileobj(bucket, name, out)
    print(json.dumps(time.monotonic() - began), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
