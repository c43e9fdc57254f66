# syntax=docker/dockerfile:1
#
# The image of every SaveAny role: `saveany api`, `saveany worker`, or `saveany run` for all in one container.
#
#   docker build -t saveany .
#   docker run -d -p 8080:8080 -v "$PWD/data:/data" --user "$(id -u):$(id -g)" saveany
#
# Everything it keeps is in /data: config.toml, logins, and with `saveany run` the tasks. The rest may be
# read-only. docker-compose.yml is the usual way to run it.

# glibc, as cryptg (the AES of Telegram's protocol) and the embedded Valkey have no wheels for musl.
FROM python:3.12-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/saveany
COPY requirements.lock ./
RUN /opt/saveany/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY saveany saveany
COPY workers workers
COPY storages storages
RUN /opt/saveany/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-build-isolation .

FROM python:3.12-slim-bookworm
# What yt-dlp merges videos with, and torrents.
RUN apt-get update && apt-get install --yes --no-install-recommends aria2 ffmpeg \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 1000 --no-create-home --home-dir /data saveany \
    && install --directory --owner saveany --group saveany /data
COPY --from=build /opt/saveany /opt/saveany
# HOME: any user id may run it (`--user`), also one that has no home here.
# SAVEANY_API_…: inside the container; `docker run -p` says who gets there.
ENV PATH=/opt/saveany/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    SAVEANY_DATA_DIR=/data \
    SAVEANY_API_HOST=0.0.0.0 \
    SAVEANY_API_PORT=8080 \
    SAVEANY_COMMAND="docker run --rm -it -v ./data:/data saveany"
WORKDIR /data
VOLUME /data
USER saveany
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-m", "saveany.cli.health", "api", "worker"]
ENTRYPOINT ["saveany"]
CMD ["run"]
