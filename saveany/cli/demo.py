"""`saveany demo`: all of SaveAny on loopback, with a simulated Telegram."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import shlex
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from saveany import advice
from saveany.api.server import bind
from saveany.cli.bars import display
from saveany.cli.client import ApiClient
from saveany.cli.follow import follow_tasks
from saveany.cli.role import prepare, redis_server, run_async
from saveany.cli.run import Serve, roles, run_forked, servers
from saveany.config import Config, load, write
from saveany.config.schema import LinksConfig
from saveany.errors import ConfigError, SaveAnyError
from saveany.forking import ForkServer
from saveany.logs import keep_tail
from saveany.sandbox import Sandbox
from saveany.sandbox.__main__ import describe
from saveany.sandbox.chat import TerminalChat, typed_lines
from saveany.sandbox.samples import PERSON, SampleFile
from saveany.sandbox.showcase import USERNAME, add_showcase
from saveany.supervisor import Supervisor

# The values in the examples of the API documentation, which therefore work unchanged.
TOKEN = "your-secret-token-here"  # noqa: S105  a demonstration on loopback
USER_ID = 123456789
STORAGE = "local1"

#: Note of the sample that the demo saves: large enough to show a progress bar, and not used in the examples.
_SAMPLE = "64 MiB"
_SAMPLE_NAME = "64MiB.bin"
_LINK_DAYS = LinksConfig().ttl_days
_FOLDER = "demo"
_HOST = "127.0.0.1"
_START_SECONDS = 60.0


def demo(
    port: Annotated[int, typer.Option(help="Port of the API; 0 chooses a free one.")] = 8080,
    data: Annotated[Path, typer.Option(help="Folder for all files of the demo.")] = Path("demo-data"),
    webhook_url: Annotated[
        str, typer.Option(help="URL that receives a webhook for every task that ends.")
    ] = "",
    once: Annotated[bool, typer.Option("--once", help="Save one sample file, then stop.")] = False,
    chat: Annotated[bool, typer.Option("--chat", help="Chat with the bot on this terminal.")] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print addresses, logins and sample links as one line of JSON.")
    ] = False,
) -> None:
    """Try SaveAny on this machine: starts a simulated Telegram, Valkey, the API, the bot and two workers.

    You need no Telegram account and no network. The demo saves one sample file and
    then runs until Ctrl-C.
    """
    run = Demo(data.absolute(), port, webhook_url, once, json_output, chat)
    keep_tail()  # before it is inherited
    forks = ForkServer(run.roles()) if ForkServer.is_available() else None
    raise typer.Exit(run_async(run.run(forks)))


@dataclass
class Demo:
    """One run of the demo."""

    data: Path
    port: int
    webhook_url: str
    once: bool
    json_output: bool
    chat: bool = False

    def roles(self) -> dict[str, Callable[[], int]]:
        """What the processes run."""
        return {name: partial(self._run_role, serve) for name, serve in servers(api=True, bot=True).items()}

    def _run_role(self, serve: Serve) -> int:
        config = load(self._config_file, {})
        prepare(config)
        return run_forked(config, serve)

    async def run(self, forks: ForkServer | None) -> int:
        """Run until Ctrl-C, or with `once` until the sample is saved. `forks` has the `roles`. Returns the
        exit code."""
        self.data.mkdir(parents=True, exist_ok=True)
        async with AsyncExitStack() as stack:
            stack.enter_context(self._locked())
            if self.port:
                bind(_HOST, self.port).close()
            sandbox = await stack.enter_async_context(Sandbox(state=self.data / "telegram"))
            add_showcase(sandbox.world)
            config = self._configure(sandbox)
            prepare(config)
            url, embedded = stack.enter_context(redis_server(config))
            if embedded:
                stack.callback(asyncio.create_task(embedded.keep()).cancel)
            supervisor = await stack.enter_async_context(
                roles(config, url, workers=2, log_dir=self._logs(), forks=forks, restarts=False)
            )
            return await self._play(config, sandbox, supervisor)

    async def _play(self, config: Config, sandbox: Sandbox, supervisor: Supervisor) -> int:
        running = asyncio.create_task(supervisor.run())
        showing = asyncio.create_task(self._show(config, sandbox))
        await asyncio.wait([running, showing], return_when=asyncio.FIRST_COMPLETED)
        if showing.done() and not showing.exception() and not (self.once or self.chat):
            return await running
        stopped_early = not showing.done()
        showing.cancel()
        if not running.done():
            supervisor.stop()
        code = await running
        if stopped_early:
            return code
        showing.result()
        return code

    def _configure(self, sandbox: Sandbox) -> Config:
        port = self.port or _free_port()
        api = {"host": _HOST, "port": port, "token": TOKEN, "signed": True}
        if self.webhook_url:
            api["webhook_url"] = self.webhook_url
        tables: dict[str, Any] = {
            "data_dir": "data",
            "api": api,
            "telegram": {
                "token": sandbox.bot_token,
                "dc_id": sandbox.dc_id,
                "dc_address": sandbox.address,
                "dc_public_key": str(sandbox.public_key_file),
                "accounts": [{"name": "user", "session": sandbox.user_session}],
            },
            "users": [{"id": USER_ID}, {"id": PERSON.id}],
            "storages": [{"name": STORAGE, "type": "local", "base_path": str(self._files)}],
        }
        write.create(self._config_file, tables, comment="Written by the demo at every start.", replace=True)
        return load(self._config_file, {})

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the folder. Raises `ConfigError` if another demo uses it."""
        with (self.data / "demo.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    "a demo is already running in {folder}; stop it with Ctrl-C, or start this one with "
                    "--data FOLDER --port PORT",
                    folder=str(self.data),
                ) from None
            yield

    @property
    def _config_file(self) -> Path:
        return self.data / "config.toml"

    @property
    def _files(self) -> Path:
        return self.data / "files"

    def _logs(self) -> Path:
        logs = self.data / "logs"
        logs.mkdir(exist_ok=True)
        return logs

    async def _show(self, config: Config, sandbox: Sandbox) -> None:
        base = f"http://{_HOST}:{config.api.port}"
        await self._until_ready(base)
        async with ApiClient(base, TOKEN) as api:
            if self.json_output:
                link = await api.post("links", {"telegram_url": sandbox.samples[0].link, "user_id": USER_ID})
                page = await api.post("session/links", {})
                facts = {**self._facts(base, sandbox), "link": link["url"], "web": page["url"]}
                print(json.dumps(facts), flush=True)
                if not self.once:
                    return
            await self._save_sample(api, sandbox)
            if not (self.once or self.json_output):
                await self._make_link(api)
        if self.chat:
            await TerminalChat(sandbox, lambda line: print(line, flush=True)).run(typed_lines())
        elif not (self.json_output or self.once):
            async with ApiClient(base, TOKEN) as api:
                self._print_instructions(base, (await api.post("session/links", {}))["url"])

    async def _until_ready(self, base: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        reason = "the API does not reply"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False) as client:
            while time.monotonic() < deadline:
                try:
                    reply = await client.get("/readyz")
                    if reply.status_code == httpx.codes.OK:
                        return
                    reason = f"the API replied: {reply.text}"
                except httpx.TransportError:
                    reason = "the API does not reply"
                await asyncio.sleep(0.05)
        raise SaveAnyError(
            "the demo did not start within {seconds:.0f} seconds ({reason}); the logs are in {folder}",
            seconds=_START_SECONDS,
            reason=reason,
            folder=str(self._logs()),
        )

    def _facts(self, base: str, sandbox: Sandbox) -> dict[str, Any]:
        return {
            "api": base,
            "token": TOKEN,
            "user_id": USER_ID,
            "storages": {STORAGE: str(self._files)},
            **describe(sandbox),
        }

    async def _save_sample(self, api: ApiClient, sandbox: Sandbox) -> None:
        sample = next(each for each in sandbox.samples if each.note == _SAMPLE)
        request = {
            "telegram_url": sample.link,
            "user_id": USER_ID,
            "storage_name": STORAGE,
            "dir_path": f"/{_FOLDER}",
            "on_conflict": "overwrite",
        }
        task_id = (await api.add(request))["task_id"]
        with display(as_json=self.json_output) as screen:
            async for event in follow_tasks(api, [task_id]):
                screen.show(event)
        task = await api.task(task_id)
        if task["status"] != "completed":
            raise SaveAnyError("the sample was not saved: {reason}", reason=task["error"] or task["status"])
        self._verify(self._files / task["items"][0]["path"], sample.files[0])

    async def _make_link(self, api: ApiClient) -> None:
        """Make a link to the sample that was saved, and show it."""
        found = await api.get("files", q=_SAMPLE_NAME, user_id=USER_ID, limit=1)
        link = await api.post("links", {"file_id": found["files"][0]["file_id"], "user_id": USER_ID})
        print(
            f"\nA link to it, which works without a token for {_LINK_DAYS} days:\n"
            f"  {link['url']}\nIts page, with a player for videos and music:\n  {link['page_url']}",
            flush=True,
        )

    def _verify(self, path: Path, expected: SampleFile) -> None:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != expected.sha256:
            raise SaveAnyError(
                "{file} has the SHA-256 {digest} instead of {expected}",
                file=str(path),
                digest=digest,
                expected=expected.sha256,
            )
        if not self.json_output:
            print(f"saved and verified: {path}\nSHA-256 {digest}", flush=True)

    def _print_instructions(self, base: str, page: str) -> None:
        add = advice.command(f"--config {shlex.quote(str(self.data / 'config.toml'))} archive add")
        print(
            f"\nOpen the web UI in a browser. This address logs you in, once, within 15 minutes:\n  {page}\n"
            f"Later, open {base} and log in with the token {TOKEN}.\n"
            f"\nThe API listens there, too. Try it from another terminal:\n\n"
            f"  curl -X POST {base}/api/v1/tasks \\\n"
            f'    -H "Authorization: Bearer {TOKEN}" -H "Content-Type: application/json" \\\n'
            '    -d \'{"telegram_url": "https://t.me/channel/123", '
            f'"user_id": {USER_ID}, "storage_name": "{STORAGE}", "dir_path": "/downloads"}}\'\n\n'
            f"Archive a whole channel, and see the receipt:\n\n"
            f"  {add} https://t.me/{USERNAME} --comments\n\n"
            "To chat with the bot, stop the demo with Ctrl-C and start it again with --chat.\n"
            f"Files are saved in {self._files}, logs in {self._logs()}. Ctrl-C stops the demo.",
            flush=True,
        )


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
