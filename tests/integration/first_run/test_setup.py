"""The setup mode: its code, who may use it, and that it ends for good."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from saveany.api.server import bind
from saveany.config import load
from saveany.errors import Forbidden, TooMany
from saveany.first_run import is_needed
from saveany.first_run.code import CODE_SECONDS, MAX_ATTEMPTS, PAUSE_SECONDS, SetupCode
from saveany.first_run.server import SetupServer, create_app
from tests.fixtures.tcp import connection

OWNER = "192.168.1.2"


class Log:
    """Where the codes are announced, and a clock."""

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.now = 1000.0
        self.code = SetupCode(self.codes.append, lambda: self.now)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def app(tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    monkeypatch.chdir(tmp_path)
    return create_app(tmp_path / "config.toml", log.code)


def client(app: FastAPI, address: str = "127.0.0.1") -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")


async def post(app: FastAPI, code: str, address: str = "127.0.0.1", **more: Any) -> httpx.Response:
    async with client(app, address) as api:
        return await api.post("/api/v1/setup", json={"code": code, **more})


class TestCode:
    def test_it_works_once_however_it_is_typed(self, log: Log) -> None:
        log.code.check(f" {log.codes[0].lower().replace('-', ' ')} ", OWNER)
        with pytest.raises(Forbidden):
            log.code.check(log.codes[0], OWNER)

    def test_it_expires_and_another_one_is_announced(self, log: Log) -> None:
        log.now += CODE_SECONDS + 1
        with pytest.raises(Forbidden):
            log.code.check(log.codes[0], OWNER)
        assert len(log.codes) == 2
        log.code.check(log.codes[1], OWNER)

    def test_wrong_attempts_have_to_wait(self, log: Log) -> None:
        for _ in range(MAX_ATTEMPTS):
            with pytest.raises(Forbidden):
                log.code.check("AAAAA-AAAAA", OWNER)
        with pytest.raises(TooMany):
            log.code.check(log.codes[0], OWNER)
        log.now += PAUSE_SECONDS + 1
        log.code.check(log.codes[0], OWNER)

    def test_others_cannot_prevent_the_setup(self, log: Log) -> None:
        for number in range(2000):
            for _ in range(MAX_ATTEMPTS):
                with pytest.raises(Forbidden):
                    log.code.check("AAAAA-AAAAA", f"10.0.{number // 250}.{number % 250}")
        assert len(log.codes) == 1
        log.code.check(log.codes[0], OWNER)

    def test_no_two_are_equal(self) -> None:
        assert len({Log().codes[0] for _ in range(50)}) == 50


class TestSetup:
    async def test_it_writes_a_configuration_that_only_its_owner_can_read(
        self, app: FastAPI, log: Log, tmp_path: Path
    ) -> None:
        ended: list[bool] = []
        app.state.finish = lambda: ended.append(True)
        reply = await post(app, log.codes[0])
        file = tmp_path / "config.toml"
        config = load(file, {})
        assert reply.status_code == 201
        assert config.api.token.get_secret_value() == reply.json()["token"]
        assert (config.api.host, [each.id for each in config.users]) == ("127.0.0.1", [1])
        assert file.stat().st_mode & 0o777 == 0o600
        assert ended

    async def test_the_code_is_good_for_one_setup(self, app: FastAPI, log: Log, tmp_path: Path) -> None:
        assert (await post(app, log.codes[0], token="a token of mine", network=True)).status_code == 201
        written = (tmp_path / "config.toml").read_text()
        assert 'host = "0.0.0.0"' in written
        assert (await post(app, log.codes[0])).status_code == 403
        assert (tmp_path / "config.toml").read_text() == written

    async def test_a_configuration_that_appears_meanwhile_is_not_replaced(
        self, app: FastAPI, log: Log, tmp_path: Path
    ) -> None:
        (tmp_path / "config.toml").write_text("# mine")
        reply = await post(app, log.codes[0])
        assert reply.status_code == 409
        assert (tmp_path / "config.toml").read_text() == "# mine"
        assert len(log.codes) == 2  # the first one is used up

    async def test_a_token_that_no_client_can_send_is_refused(self, app: FastAPI, log: Log) -> None:
        assert (await post(app, log.codes[0], token="two lines\nin a token")).status_code == 400
        assert (await post(app, log.codes[0])).status_code == 201

    async def test_a_short_token_does_not_use_the_code_up(self, app: FastAPI, log: Log) -> None:
        assert (await post(app, log.codes[0], token="short")).status_code == 400
        assert (await post(app, log.codes[0])).status_code == 201

    @pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "nonsense"])
    async def test_other_networks_are_refused(self, app: FastAPI, log: Log, address: str) -> None:
        assert (await post(app, log.codes[0], address)).status_code == 403
        async with client(app, address) as api:
            assert (await api.get("/")).status_code == 403
            assert (await api.get("/api/v1/setup")).status_code == 403

    @pytest.mark.parametrize("address", ["127.0.0.1", "192.168.1.5", "10.1.2.3", "fd00::1", "::1"])
    async def test_the_local_network_may(self, app: FastAPI, log: Log, address: str) -> None:
        assert (await post(app, log.codes[0], address)).status_code == 201

    @pytest.mark.parametrize(
        ("header", "value"),
        [
            ("X-Forwarded-For", "10.0.0.1, 8.8.8.8"),
            ("X-Forwarded-For", "8.8.8.8:4711"),
            ("X-Real-IP", "8.8.8.8"),
            ("Forwarded", "for=10.0.0.1;proto=http, For=8.8.8.8:4711"),
            ("Forwarded", 'proto=https; for="[2001:4860:4860::8888]:4711"'),
            ("Forwarded", 'for="10.0.0.1, for=8.8.8.8'),
            ("Forwarded", "for=unknown"),
        ],
    )
    async def test_a_proxy_does_not_hide_other_networks(
        self, app: FastAPI, log: Log, header: str, value: str
    ) -> None:
        async with client(app) as api:
            reply = await api.post("/api/v1/setup", json={"code": log.codes[0]}, headers={header: value})
        assert reply.status_code == 403

    @pytest.mark.parametrize(
        ("header", "value", "is_local"),
        [
            ("X-Forwarded-For", "192.168.1.5:4711", False),
            ("Forwarded", 'for="[fd00::1]:4711";proto=https, for=10.0.0.1', False),
            ("Forwarded", 'for="[::1]"', True),
        ],
    )
    async def test_the_local_network_may_use_a_proxy(
        self, app: FastAPI, header: str, value: str, *, is_local: bool
    ) -> None:
        async with client(app) as api:
            reply = await api.get("/api/v1/setup", headers={header: value})
        assert (reply.status_code, reply.json()["is_local"]) == (200, is_local)

    @pytest.mark.parametrize(
        "headers",
        [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Content-Type": "text/plain"}],
    )
    async def test_other_sites_are_refused(self, app: FastAPI, log: Log, headers: dict[str, str]) -> None:
        async with client(app) as api:
            content = f'{{"code": "{log.codes[0]}"}}'
            headers = {"Content-Type": "application/json"} | headers
            reply = await api.post("/api/v1/setup", content=content, headers=headers)
        assert reply.status_code in (400, 403, 415)
        assert log.codes == log.codes[:1]

    async def test_nothing_else_can_be_done(self, app: FastAPI) -> None:
        async with client(app) as api:
            for path in ("session", "tasks", "config", "nothing"):
                reply = await api.get(f"/api/v1/{path}")
                assert (reply.status_code, reply.json()["error"]) == (503, "Setup required")
            page = await api.get("/")
        assert page.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]

    async def test_connections_that_others_leave_open_keep_nobody_out(self, app: FastAPI, log: Log) -> None:
        server = SetupServer(app)
        app.state.finish = lambda: setattr(server, "should_exit", True)
        async with AsyncExitStack() as closing:
            sock = closing.enter_context(bind("127.0.0.1", 0))
            address = sock.getsockname()
            serving = asyncio.create_task(server.serve(sockets=[sock]))
            for _ in range(120):
                await closing.enter_async_context(connection(*address))
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{address[1]}") as api:
                reply = await api.post("/api/v1/setup", json={"code": log.codes[0]})
            assert reply.status_code == 201
            await serving

    async def test_wrong_codes_are_throttled(self, app: FastAPI, log: Log) -> None:
        replies = [(await post(app, "WRONG")).status_code for _ in range(MAX_ATTEMPTS + 1)]
        assert replies == [403] * MAX_ATTEMPTS + [429]
        assert (await post(app, log.codes[0], OWNER)).status_code == 201


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, True),
        ({"SAVEANY_API_HOST": "0.0.0.0", "SAVEANY_REDIS_URL": "redis://redis:6379/0"}, True),
        ({"SAVEANY_API_TOKEN": "a token of mine"}, False),
        ({"SAVEANY_TELEGRAM_TOKEN": "1:a"}, False),
        ({"SAVEANY_USERS": '[{"id": 1}]'}, False),
        ({"SAVEANY_CONFIG": "elsewhere.toml"}, False),
    ],
)
def test_it_is_for_those_without_a_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, env: dict[str, str], expected: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_needed(None, env) is expected
    assert not is_needed(Path("named.toml"), env)
    (tmp_path / "config.toml").write_text("")
    assert not is_needed(None, env)
