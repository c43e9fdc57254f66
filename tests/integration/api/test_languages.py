"""Errors, reasons and descriptions in the language that a client asks for; kinds and codes do not change."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from saveany.languages import preferred
from tests.integration.api.conftest import SEED_BODY, USER

CHINESE = {"Accept-Language": "zh-CN,zh;q=0.9,en;q=0.8"}


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("*", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans"),
        ("en-GB,zh;q=0.9", "en"),
        ("de, zh;q=0.5", "zh-Hans"),
        ("en;q=0.1, zh-Hans;q=0.4", "zh-Hans"),
        ("zh;q=0", "en"),
        ("zh;q=high", "en"),
        ("\x00;;q,," + "x" * 10_000, "en"),
    ],
)
def test_the_language_that_a_client_prefers(header: str, language: str) -> None:
    assert preferred(header) == language


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("GET", "/api/v1/tasks/nosuch", None, "没有任务 nosuch"),
        ("GET", "/api/v1/nothing", None, "此地址没有内容"),
        ("PUT", "/api/v1/tasks", None, "此地址不支持该方法"),
        ("POST", "/api/v1/tasks", {**SEED_BODY, "user_id": "x"}, "必须是整数"),
        ("POST", "/api/v1/tasks", {**SEED_BODY, "colour": 1}, "没有这个字段"),
        ("POST", "/api/v1/tasks", {**SEED_BODY, "storage_name": "nas"}, "nas"),
        ("GET", "/api/v1/tasks?colour=1", None, "没有这个参数"),
    ],
)
async def test_errors_are_translated_and_their_kinds_are_not(
    client: httpx.AsyncClient, method: str, path: str, body: Any, said: str
) -> None:
    english = (await client.request(method, path, json=body)).json()
    chinese = (await client.request(method, path, json=body, headers=CHINESE)).json()
    assert said in chinese["message"]
    assert any("\u4e00" <= each <= "\u9fff" for each in chinese["message"])
    assert english["message"].isascii()
    assert chinese["message"] != english["message"]
    same = ("error", "code")
    assert [chinese[name] for name in same] == [english[name] for name in same]
    fields = [[each["field"] for each in reply.get("details", [])] for reply in (english, chinese)]
    assert fields[0] == fields[1]
    assert all(not each["message"].isascii() for each in chinese.get("details", []))


async def test_the_language_ends_with_the_request(client: httpx.AsyncClient) -> None:
    assert "没有" in (await client.get("/api/v1/tasks/x", headers=CHINESE)).json()["message"]
    assert (await client.get("/api/v1/tasks/x")).json()["message"] == "there is no task x"


async def test_descriptions_and_reasons_are_translated(client: httpx.AsyncClient) -> None:
    settings = (await client.get("/api/v1/config", headers=CHINESE)).json()
    assert [each["key"] for each in settings["settings"] if each["about"].isascii()] == []
    assert [each["name"] for each in settings["tables"] if each["about"].isascii()] == []
    types = (await client.get("/api/v1/storage-types", headers=CHINESE)).json()["types"]
    assert [each["type"] for each in types if each["about"].isascii()] == []
    assert [each["name"] for one in types for each in one["options"] if each["about"].isascii()] == []
    (await client.post("/api/v1/tasks", json=SEED_BODY)).raise_for_status()
    tasks = (await client.get("/api/v1/tasks", params={"user_id": USER}, headers=CHINESE)).json()["tasks"]
    assert not tasks[0]["waiting"].isascii()
