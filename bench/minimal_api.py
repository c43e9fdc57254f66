"""A minimal API with a queue: one FastAPI route that enqueues one arq job.

`python -m bench.minimal_api REDIS_URL` prints its port as one line of JSON and serves until SIGTERM.
"""

from __future__ import annotations

import json
import socket
import sys

import uvicorn
from arq.connections import ArqRedis
from fastapi import FastAPI
from redis.asyncio import ConnectionPool

from saveany.cli.role import run_async


def make_app(url: str) -> FastAPI:
    app = FastAPI()
    queue = ArqRedis(ConnectionPool.from_url(url))

    @app.post("/", status_code=201)
    async def enqueue() -> dict[str, str]:
        job = await queue.enqueue_job("work")
        return {"id": job.job_id if job else ""}

    return app


async def main(url: str) -> None:
    """Serve as the API does: with the same server and event loop."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as sock:
        print(json.dumps(sock.getsockname()[1]), flush=True)
        config = uvicorn.Config(make_app(url), log_config=None, access_log=False, server_header=False)
        await uvicorn.Server(config).serve(sockets=[sock])


if __name__ == "__main__":
    run_async(main(sys.argv[1]))
