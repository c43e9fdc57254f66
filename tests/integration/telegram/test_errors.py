"""Every error class of Telethon is mapped to the correct error of ours."""

from __future__ import annotations

import asyncio
import inspect
from types import ModuleType

import pytest
from telethon import errors as tg
from telethon.errors import common, rpcbaseerrors, rpcerrorlist
from telethon.tl import functions, types

from saveany.errors import NeedsLogin, Permanent, Retryable, TaskError
from saveany.telegram.errors import ErrorKind, describe, kind_of, translate, translated

REQUEST = functions.help.GetConfigRequest()


def classes(*modules: ModuleType) -> list[type[BaseException]]:
    """Every exception class that these modules define."""
    found = {
        cls
        for module in modules
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, BaseException) and cls.__module__.startswith("telethon")
    }
    return sorted(found - {tg.RPCError}, key=lambda cls: cls.__name__)


def test_every_error_class_is_mapped() -> None:
    every = classes(rpcerrorlist, common, rpcbaseerrors)
    assert len(every) > 500
    assert [cls.__name__ for cls in every if kind_of(cls) is None] == []


def server_says(code: int, text: str) -> Exception:
    error: Exception = tg.rpc_message_to_error(types.RpcError(code, text), REQUEST)
    return error


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (400, "CHANNEL_PRIVATE", Permanent),
        (400, "SOMETHING_NEW", Permanent),
        (400, "FILE_REFERENCE_EXPIRED", Retryable),
        (401, "AUTH_KEY_UNREGISTERED", NeedsLogin),
        (401, "SOMETHING_NEW", NeedsLogin),
        (403, "CHAT_FORBIDDEN", Permanent),
        (406, "AUTH_KEY_DUPLICATED", NeedsLogin),
        (406, "SOMETHING_NEW", Permanent),
        (420, "FLOOD_WAIT_33", Retryable),
        (500, "SOMETHING_NEW", Retryable),
        (-503, "Timeout", Retryable),
        (777, "SOMETHING_NEW", Retryable),
    ],
)
def test_each_error_is_mapped_to_its_handling(code: int, text: str, expected: type[TaskError]) -> None:
    error = translate(server_says(code, text), "me")
    assert isinstance(error, expected)
    assert "me" in error.message
    assert "GetConfig" not in error.message  # Telethon names its classes; users need not know them


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("FLOOD_WAIT_33", 33), ("FLOOD_PREMIUM_WAIT_5", 5), ("FLOOD_WAIT_0", 1), ("TAKEOUT_INIT_DELAY_9", 9)],
)
def test_flood_errors_have_their_delay(text: str, seconds: int) -> None:
    error = translate(server_says(420, text))
    assert isinstance(error, Retryable)
    assert error.after == seconds


def test_an_unknown_key_needs_a_login() -> None:
    error = translate(tg.InvalidBufferError((-404).to_bytes(4, "little", signed=True)), "bot", is_bot=True)
    assert isinstance(error, NeedsLogin)
    assert "saveany login --bot" in error.message
    assert isinstance(translate(tg.InvalidBufferError(b"")), Retryable)


def test_frequent_errors_have_readable_texts() -> None:
    assert (
        str(describe(server_says(400, "USERNAME_NOT_OCCUPIED"))) == "nobody has this username; check the link"
    )
    assert str(describe(server_says(400, "SOMETHING_NEW"))) == "Telegram replied SOMETHING_NEW"
    assert str(describe(asyncio.IncompleteReadError(b"", 4))) == "the connection to Telegram was lost"
    assert str(describe(TimeoutError())) == "Telegram did not reply in time"


def test_our_errors_and_bugs_are_not_translated() -> None:
    for error in (Permanent("x"), asyncio.CancelledError(), ZeroDivisionError("a bug")):
        with pytest.raises(type(error)) as caught, translated("me"):
            raise error
        assert caught.value is error
    assert kind_of(ZeroDivisionError) is None
    assert kind_of(ConnectionResetError) is ErrorKind.RETRY
    with pytest.raises(Retryable), translated("me"):
        raise ConnectionResetError
