"""Changes of the configuration over the API: settings, storages, users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from saveany.api.app import create_app
from saveany.catalogue.catalogue import Catalogue
from saveany.config import Config, load
from saveany.config.follow import ConfigFollower
from saveany.config.hidden import HIDDEN
from saveany.storage_set import StorageSet
from saveany.store import Store
from tests.fixtures.waiting import until
from tests.integration.api.conftest import check_error

TOKEN = "a-token-that-nobody-else-has"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
TEXT = f"""# mine
data_dir = "data"

[api]
token = "{TOKEN}" # do not tell

[[users]]
id = 7

[[storages]]
name = "local1"
type = "local"
base_path = "files/1"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(TEXT)
    return file


@pytest.fixture
def config(file: Path) -> Config:
    return load(file, {})


@pytest.fixture
def app(config: Config, store: Store, catalogue: Catalogue) -> FastAPI:
    return create_app(config, store, catalogue)


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    services = app.state.services
    transport = httpx.ASGITransport(app)
    async with (
        services.configuration.following(services.delivery.storages_changed),
        httpx.AsyncClient(transport=transport, base_url="http://api", headers=AUTH) as client,
    ):
        yield client


async def setting(client: httpx.AsyncClient, key: str) -> dict[str, Any]:
    reply = (await client.get("/api/v1/config")).json()
    return next(each for each in reply["settings"] if each["key"] == key)


class TestSettings:
    async def test_secrets_are_hidden(self, client: httpx.AsyncClient) -> None:
        reply = await client.get("/api/v1/config")
        assert TOKEN not in reply.text
        token = next(each for each in reply.json()["settings"] if each["key"] == "api.token")
        assert (token["value"], token["is_secret"], token["source"]) == (HIDDEN, True, "file")

    async def test_the_address_of_webhooks_is_a_secret(self, client: httpx.AsyncClient, file: Path) -> None:
        url = "https://hooks.example.com/services/T0/B0/a-secret"
        reply = await client.patch("/api/v1/config", json={"values": {"api.webhook_url": url}})
        assert reply.status_code == 200
        assert "a-secret" not in reply.text
        assert (await setting(client, "api.webhook_url"))["value"] == HIDDEN
        reply = await client.patch("/api/v1/config", json={"values": {"api.webhook_url": "ftp://a-secret"}})
        assert "a-secret" not in check_error(reply, 400)["message"]
        assert url in file.read_text()

    async def test_a_change_keeps_the_comments_and_waits_for_a_restart(
        self, client: httpx.AsyncClient, file: Path
    ) -> None:
        reply = await client.patch("/api/v1/config", json={"values": {"links.ttl_days": 7, "workers": 5}})
        assert reply.json()["waiting"] == ["workers", "links.ttl_days"]
        assert "# mine" in file.read_text()
        assert "# do not tell" in file.read_text()
        assert load(file, {}).links.ttl_days == 7
        await client.patch("/api/v1/config", json={"values": {"links.ttl_days": None, "workers": None}})
        assert (await setting(client, "links.ttl_days"))["source"] == "default"
        assert load(file, {}).workers == 3

    async def test_a_hidden_secret_that_is_sent_back_stays(
        self, client: httpx.AsyncClient, file: Path
    ) -> None:
        await client.patch("/api/v1/config", json={"values": {"api.token": HIDDEN, "workers": 5}})
        assert load(file, {}).api.token.get_secret_value() == TOKEN

    @pytest.mark.parametrize(
        ("values", "field"),
        [
            ({"links.ttl_days": "x"}, "links.ttl_days"),
            ({"links.ttl_day": 1}, "links.ttl_day"),
            ({"users": []}, "users"),
            ({"log.level": "loud"}, "log.level"),
        ],
    )
    async def test_what_is_wrong_is_not_written(
        self, client: httpx.AsyncClient, file: Path, values: dict[str, Any], field: str
    ) -> None:
        for send in (client.patch("/api/v1/config", json={"values": values}),):
            assert check_error(await send, 400)["details"][0]["field"] == field
        reply = await client.post("/api/v1/config/check", json={"values": values})
        assert check_error(reply, 400)["details"][0]["field"] == field
        assert file.read_text() == TEXT

    async def test_secrets_that_are_hidden_in_a_value_stay(
        self, client: httpx.AsyncClient, file: Path
    ) -> None:
        secrets = {"proxy": "socks5://me:hush@127.0.0.1:1", "telegram.sessions": ["1aaa", "1bbb"]}
        await client.patch("/api/v1/config", json={"values": secrets})
        reply = await client.get("/api/v1/config")
        assert not any(secret in reply.text for secret in ("hush", "1aaa", "1bbb"))
        shown = {each["key"]: each["value"] for each in reply.json()["settings"] if each["key"] in secrets}
        shown["telegram.sessions"].append("1ccc")
        shown["proxy"] = shown["proxy"].replace("127.0.0.1", "127.0.0.2")
        reply = await client.patch("/api/v1/config", json={"values": shown})
        assert reply.status_code == 200
        now = load(file, {})
        assert now.proxy == "socks5://me:hush@127.0.0.2:1"
        assert [each.get_secret_value() for each in now.telegram.sessions] == ["1aaa", "1bbb", "1ccc"]

    async def test_secrets_in_lists_of_tables_stay(self, client: httpx.AsyncClient, file: Path) -> None:
        rows = [
            {"name": name, "user_id": 7, "secret": f"a-long-secret-of-{name * 30}"} for name in ("a", "b")
        ]
        reply = await client.patch("/api/v1/config", json={"values": {"api.keys": rows}})
        assert reply.status_code == 200, reply.text
        shown = (await setting(client, "api.keys"))["value"]
        assert [each["secret"] for each in shown] == [HIDDEN, HIDDEN]
        reply = await client.patch("/api/v1/config", json={"values": {"api.keys": shown[1:]}})
        assert reply.status_code == 200, reply.text
        assert [each.secret.get_secret_value() for each in load(file, {}).api.keys] == [rows[1]["secret"]]

    @pytest.mark.parametrize(
        "values",
        [
            {"telegram.sessions": [HIDDEN]},
            {"proxy": f"socks5://me:{HIDDEN}@127.0.0.1:1"},
            {"api.host": "192.0.2.77"},
            {"api.host": "no such host"},
            {"data_dir": "/dev/null/x"},
            {"data_dir": "a\0b"},
            {"api.token": "two\nlines"},
            {"api.token": " spaces "},
            {"catalogue.url": "postgresql://me:secret@127.0.0.1:port/x"},
            {"catalogue.url": "postgresql://?a=b"},
            {"workers": 10**400},
            {"api.public_url": "http://a\nb"},
            {"compat.openload.path": "/api/v1"},
            {"telegram.dc_public_key": "config.toml"},
            {"net.allow": [None]},
        ],
        ids=str,
    )
    async def test_what_would_not_start_is_not_written(
        self, client: httpx.AsyncClient, file: Path, values: dict[str, Any]
    ) -> None:
        reply = await client.patch("/api/v1/config", json={"values": values})
        body = check_error(reply, 400)
        assert TOKEN not in reply.text
        assert "secret@" not in reply.text
        assert "is written in a way" not in body["message"]
        assert file.read_text() == TEXT

    @pytest.mark.parametrize(
        ("values", "address"),
        [
            ({"api.enable": False}, "127.0.0.1"),
            ({"api.token": ""}, "127.0.0.1"),
            ({"api.token": None}, "127.0.0.1"),
            ({"api.host": "127.0.0.1"}, "192.168.1.5"),
        ],
        ids=str,
    )
    async def test_nobody_is_locked_out(
        self, client: httpx.AsyncClient, app: FastAPI, file: Path, values: dict[str, Any], address: str
    ) -> None:
        transport = httpx.ASGITransport(app, client=(address, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://api", headers=AUTH) as operator:
            for method, path in (("POST", "/api/v1/config/check"), ("PATCH", "/api/v1/config")):
                reply = await operator.request(method, path, json={"values": values})
                error = check_error(reply, 400)["details"][0]
                assert error["field"] == next(iter(values))
                assert "saveany config set" in error["message"]
        assert file.read_text() == TEXT

    async def test_this_machine_may_leave_the_network(self, client: httpx.AsyncClient, file: Path) -> None:
        reply = await client.patch("/api/v1/config", json={"values": {"api.host": "127.0.0.1"}})
        assert reply.status_code == 200
        assert load(file, {}).api.host == "127.0.0.1"

    async def test_a_server_that_does_not_answer_is_not_written(
        self, client: httpx.AsyncClient, file: Path
    ) -> None:
        values = {"redis.url": "redis://127.0.0.1:1/0"}
        reply = await client.patch("/api/v1/config", json={"values": values})
        assert check_error(reply, 400)["details"][0]["field"] == "redis.url"
        assert file.read_text() == TEXT

    async def test_a_key_of_the_environment_is_locked(
        self, client: httpx.AsyncClient, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SAVEANY_WORKERS", "9")
        found = await setting(client, "workers")
        assert (found["value"], found["source"], found["variable"]) == (9, "environment", "SAVEANY_WORKERS")
        reply = await client.patch("/api/v1/config", json={"values": {"workers": 5}})
        assert "SAVEANY_WORKERS" in check_error(reply, 409)["message"]
        assert file.read_text() == TEXT

    async def test_a_restart_is_requested(self, client: httpx.AsyncClient, config: Config) -> None:
        assert (await client.post("/api/v1/config/restart")).status_code == 202
        assert (config.data_dir / "restart").exists()

    async def test_what_only_restarts_outside_refuses(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("_SAVEANY_RESTARTS", "no")
        check_error(await client.post("/api/v1/config/restart"), 409)


class TestStorages:
    async def test_one_is_added_changed_and_removed_while_everything_runs(
        self, client: httpx.AsyncClient, config: Config, store: Store, tmp_path: Path
    ) -> None:
        worker = load(config.file, {})
        storages = StorageSet.open(worker, worker.services, store)
        follower = ConfigFollower(worker, storages.update)
        body = {"name": "new", "type": "local", "options": {"base_path": "files/2"}}
        reply = await client.post("/api/v1/storages", json=body)
        assert (reply.status_code, reply.json()["options"]) == (201, {"base_path": "files/2"})
        await follower.check()
        first = storages["new"]
        assert await first.check_presence()
        assert [each["name"] for each in (await client.get("/api/v1/storages")).json()["storages"]] == [
            "local1",
            "new",
        ]
        changed = {"options": {"base_path": "files/3"}}
        reply = await client.patch("/api/v1/storages/new", json=changed)
        assert check_error(reply, 400)["details"][0]["field"] == "moved"
        reply = await client.patch("/api/v1/storages/new", json={**changed, "moved": True})
        assert reply.json()["options"] == {"base_path": "files/3"}
        await follower.check()
        assert storages["new"] is not first
        assert await storages["new"].check_presence()
        assert (tmp_path / "files/3/.saveany-storage").exists()
        await client.delete("/api/v1/storages/new")
        await follower.check()
        assert list(storages) == ["local1"]
        check_error(await client.get("/api/v1/storages/new"), 404)
        await storages.close()

    async def test_one_that_does_not_work_is_not_written(
        self, client: httpx.AsyncClient, file: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "taken").write_text("a file")
        body = {"name": "new", "type": "local", "options": {"base_path": "taken"}}
        check_error(await client.post("/api/v1/storage-tests", json=body), 400)
        check_error(await client.post("/api/v1/storages", json=body), 400)
        assert file.read_text() == TEXT

    async def test_the_folder_of_the_configuration_is_refused(self, client: httpx.AsyncClient) -> None:
        body = {"name": "new", "type": "local", "options": {"base_path": "."}}
        reply = await client.post("/api/v1/storages", json=body)
        assert "configuration" in check_error(reply, 400)["message"]

    async def test_one_that_would_lose_files_or_share_them_is_refused(
        self, client: httpx.AsyncClient, file: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "files/1").mkdir(parents=True)
        (tmp_path / "alias").symlink_to(tmp_path / "files/1")
        bodies: list[dict[str, Any]] = [
            {"name": "new", "type": "memory"},
            {"name": "new", "type": "local", "options": {"base_path": "files/1/"}},
            {"name": "new", "type": "local", "options": {"base_path": "alias"}},
        ]
        for body in bodies:
            field = "type" if body["type"] == "memory" else "base_path"
            for path in ("/api/v1/storage-tests", "/api/v1/storages"):
                error = check_error(await client.post(path, json=body), 400)
                assert error["details"][0]["field"] == field
        assert file.read_text() == TEXT

    async def test_servers_are_told_apart_by_all_that_names_a_place(
        self, client: httpx.AsyncClient, file: Path
    ) -> None:
        url = "http://127.0.0.1:1/dav"
        file.write_text(
            TEXT + f'\n[[storages]]\nname = "dav"\ntype = "webdav"\nurl = "{url}"\nbase_path = "/x"\n'
        )

        async def refused(**options: str) -> str:
            body = {"name": "new", "type": "webdav", "options": options}
            reply = await client.post("/api/v1/storages", json=body)
            return str(check_error(reply, 400)["message"])

        assert "'dav' has its files in the same place" in await refused(url=f"{url}/", base_path="x/")
        for other in ({"base_path": "/y"}, {"base_path": "/x", "username": "me"}):
            assert "in the same place" not in await refused(url=url, **other)

    async def test_secrets_are_hidden_and_stay(self, client: httpx.AsyncClient, file: Path) -> None:
        file.write_text(
            TEXT + '\n[[storages]]\nname = "dav"\ntype = "webdav"\nenable = false\n'
            'url = "http://127.0.0.1:1/"\npassword = "p4ssword"\n'
        )
        reply = await client.get("/api/v1/storages/dav")
        assert reply.json()["options"]["password"] == HIDDEN
        body = {"options": {"password": HIDDEN, "username": "me"}}
        assert (await client.patch("/api/v1/storages/dav", json=body)).status_code == 200
        assert 'password = "p4ssword"' in file.read_text()
        assert 'username = "me"' in file.read_text()

    async def test_a_new_one_has_no_secret_that_is_hidden(
        self, client: httpx.AsyncClient, file: Path
    ) -> None:
        options = {"url": "http://127.0.0.1:1/", "username": "me", "password": HIDDEN}
        body = {"name": "dav", "type": "webdav", "options": options}
        for path in ("/api/v1/storage-tests", "/api/v1/storages"):
            assert check_error(await client.post(path, json=body), 400)["details"][0]["field"] == "password"
        assert file.read_text() == TEXT

    async def test_a_file_that_does_not_load_is_no_crash(self, client: httpx.AsyncClient, file: Path) -> None:
        file.write_text("this is not TOML")
        for path in ("config", "config/storages", "storages/local1"):
            check_error(await client.get(f"/api/v1/{path}"), 409)

    async def test_every_type_has_a_form(self, client: httpx.AsyncClient) -> None:
        types = (await client.get("/api/v1/storage-types")).json()["types"]
        by_name = {each["type"]: {o["name"]: o for o in each["options"]} for each in types}
        assert by_name["local"]["base_path"]["is_required"]
        assert any(each["kind"] == "secret" for each in by_name["s3"].values())
        assert all(option["about"] for options in by_name.values() for option in options.values())


class TestUsers:
    async def test_one_is_added_changed_and_removed(self, client: httpx.AsyncClient, config: Config) -> None:
        other = load(config.file, {})
        follower = ConfigFollower(other)
        reply = await client.post("/api/v1/users", json={"user_id": 8, "storages": ["local1"]})
        assert (reply.status_code, reply.json()["listed_storages"]) == (201, ["local1"])
        await follower.check()
        assert [each.id for each in other.users] == [7, 8]
        reply = await client.patch("/api/v1/users/8", json={"role": "admin", "storages": None})
        assert (reply.json()["is_admin"], reply.json()["listed_storages"]) == (True, [])
        check_error(await client.post("/api/v1/users", json={"user_id": 8}), 409)
        await client.delete("/api/v1/users/8")
        check_error(await client.delete("/api/v1/users/8"), 404)
        assert config.user(8) is None

    async def test_a_user_who_is_added_can_save(self, client: httpx.AsyncClient) -> None:
        await client.post("/api/v1/users", json={"user_id": 8})
        body = {"telegram_url": "https://t.me/channel/123", "user_id": 8}
        assert (await client.post("/api/v1/tasks", json=body)).status_code == 201

    async def test_what_is_changed_by_hand_applies(
        self, client: httpx.AsyncClient, file: Path, config: Config, app: FastAPI
    ) -> None:
        async with app.router.lifespan_context(app):
            file.write_text(TEXT.replace("id = 7", "id = 77") + "[limits]\ntasks_per_user = 2\n")

            async def applied() -> bool:
                return config.user(77) is not None

            await until(applied)
        limits = (await client.get("/api/v1/limits")).json()
        assert limits["tasks_per_user"] == 2

    async def test_a_file_that_does_not_load_changes_nothing(
        self, client: httpx.AsyncClient, file: Path, config: Config
    ) -> None:
        file.write_text("users = 5")
        check_error(await client.get("/api/v1/config"), 409)
        check_error(await client.post("/api/v1/users", json={"user_id": 8}), 400)
        assert config.user(7) is not None


@pytest.mark.parametrize(
    "path", ["config", "config/storages", "storage-types", "storages/local1", "accounts", "config/restart"]
)
async def test_a_key_may_not(client: httpx.AsyncClient, path: str) -> None:
    body = {"name": "script", "user_id": 7, "scopes": ["tasks", "files", "links", "read"]}
    secret = (await client.post("/api/v1/keys", json=body)).json()["secret"]
    method = "POST" if path.endswith("restart") else "GET"
    reply = await client.request(
        method, f"/api/v1/{path}", headers={"Authorization": f"Bearer {secret}"}, json=None
    )
    check_error(reply, 403)
