"""Messages are looked up in batches: links of one chat share requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from saveany.config import Config
from saveany.errors import Offline, Permanent, Retryable
from saveany.models import Item, TaskSpec
from saveany.sandbox import Sandbox, samples
from saveany.sandbox.world import Chat
from saveany.telegram.accounts import Accounts
from saveany.telegram.links import parse
from tests.integration.telegram.conftest import Start
from workers.sources.telegram import TelegramSource

FIRST = 1000


@pytest.fixture
def channel(sandbox: Sandbox) -> Chat:
    """@channel with 100 more documents."""
    channel = sandbox.world.by_username("channel")
    assert isinstance(channel, Chat)
    for number in range(FIRST, FIRST + 100):
        sandbox.world.post(channel, replace(channel.messages[123], id=number))
    return channel


async def resolved(accounts: Accounts, numbers: Iterable[int]) -> list[Any]:
    """The number of files behind each message link, or the error."""
    links = [parse(f"https://t.me/channel/{number}") for number in numbers]
    found = await asyncio.gather(*map(accounts.resolve, links), return_exceptions=True)
    return [each if isinstance(each, BaseException) else len(each) for each in found]


def requests(sandbox: Sandbox) -> int:
    return sandbox.counters.requests(method="channels.getMessages")


@pytest.mark.parametrize("which", ["bot", "user"])
async def test_a_hundred_links_to_one_chat_cost_at_most_two_requests(
    sandbox: Sandbox, start: Start, channel: Chat, which: str
) -> None:
    accounts = await start(**{which: True})
    sandbox.counters.clear()
    assert await resolved(accounts, range(FIRST, FIRST + 100)) == [1] * 100
    assert requests(sandbox) <= 2
    assert sandbox.counters.requests(method="contacts.resolveUsername") <= 1


def source_of(accounts: Accounts) -> TelegramSource:
    tools = SimpleNamespace(config=Config(), accounts=accounts, on_wait=lambda seconds: None)
    return TelegramSource(cast(Any, tools))


def task(numbers: Iterable[int]) -> TaskSpec:
    links = tuple(f"https://t.me/channel/{number}" for number in numbers)
    return TaskSpec(id="t", type="tgfiles", links=links, user_id=1, storage="local1")


async def test_tasks_of_one_chat_share_requests_and_read_no_message_twice(
    sandbox: Sandbox, start: Start, channel: Chat
) -> None:
    """From the lookup to the last byte."""
    source = source_of(await start(bot=True))
    sandbox.counters.clear()
    tasks = [task(range(FIRST + first, FIRST + first + 25)) for first in (0, 25, 50, 75)]
    planned = await asyncio.gather(*map(source.resolve, tasks))
    assert [len(files) for files in planned] == [25] * 4
    assert requests(sandbox) <= 2

    async def write(offset: int, data: bytes | memoryview) -> None:
        return

    files = [file for files in planned for file in files]
    items = [
        Item(index=i, name=f.name, path=f.name, size=f.size, source=f.source) for i, f in enumerate(files)
    ]
    await asyncio.gather(*(source.fetch(item, write) for item in items))
    assert requests(sandbox) <= 2
    await asyncio.gather(*(source.fetch(item, write) for item in items))  # as another worker would
    assert requests(sandbox) <= 4


async def test_the_first_link_that_fails_is_reported_if_all_fail(
    sandbox: Sandbox, start: Start, channel: Chat
) -> None:
    source = source_of(await start(bot=True))
    for _ in range(3):
        with pytest.raises(Permanent, match=str(FIRST + 200)):
            await source.resolve(task([FIRST + 200, 144, FIRST + 300]))


async def test_a_link_that_fails_becomes_a_file_that_fails(
    sandbox: Sandbox, start: Start, channel: Chat
) -> None:
    """The others are saved. A retry looks the link up again."""
    source = source_of(await start(bot=True))
    spec = task([FIRST, FIRST + 200, 144, FIRST + 1])
    for _ in range(3):
        files = await source.resolve(spec)
        assert [file.source.get("message") for file in files] == [FIRST, None, None, FIRST + 1]
        with pytest.raises(Permanent, match=str(FIRST + 200)):
            await source.prepare(item_of(files, 1), spec, lambda done, size: None)
    sandbox.counters.clear()
    with pytest.raises(Permanent, match=str(FIRST + 200)):
        await source.prepare(item_of(files, 1), spec, lambda done, size: None)
    assert requests(sandbox) == 0  # the worker that has looked it up knows the reason
    await source.stop("t")
    with pytest.raises(Permanent, match=str(FIRST + 200)):
        await source.prepare(item_of(files, 1), spec, lambda done, size: None)
    sandbox.world.post(channel, replace(channel.messages[123], id=FIRST + 200))
    await source.stop("t")
    ready = await source.prepare(item_of(files, 1), spec, lambda done, size: None)
    assert (ready.source["message"], ready.size) == (FIRST + 200, files[0].size)
    assert ready.name == files[0].name


def item_of(files: list[Any], index: int) -> Item:
    file = files[index]
    return Item(index=index, name=file.name, path=file.name, size=file.size, source=file.source)


async def test_links_that_failed_are_looked_up_again_together(
    sandbox: Sandbox, start: Start, channel: Chat
) -> None:
    """A retry, or another worker, asks once for a hundred of them."""
    missing = range(FIRST + 200, FIRST + 300)
    spec = task([FIRST, *missing])
    files = await source_of(await start(bot=True)).resolve(spec)
    items = [item_of(files, index) for index in range(len(files))]
    for number in missing[::2]:
        sandbox.world.post(channel, replace(channel.messages[123], id=number))
    source = source_of(await start(bot=True))
    sandbox.counters.clear()
    await source.look_up(items, spec)
    for number, item in zip(missing, items[1:], strict=True):
        if number in missing[::2]:
            ready = await source.prepare(item, spec, lambda done, size: None)
            assert ready.source["message"] == number
        else:
            with pytest.raises(Permanent, match="does not exist"):
                await source.prepare(item, spec, lambda done, size: None)
    assert requests(sandbox) <= 2


async def test_ten_thousand_links_of_which_every_third_is_wrong_cost_a_request_for_a_hundred(
    sandbox: Sandbox, start: Start, channel: Chat
) -> None:
    for number in range(10_000, 20_000):
        if number % 3:
            sandbox.world.post(channel, replace(channel.messages[123], id=number))
    source = source_of(await start(bot=True))
    sandbox.counters.clear()
    spec = task(range(10_000, 20_000))
    files = await source.resolve(spec)
    assert [file.source.get("message") for file in files] == [
        number if number % 3 else None for number in range(10_000, 20_000)
    ]
    assert requests(sandbox) <= 105
    failing = [item_of(files, index) for index, file in enumerate(files) if "link" in file.source]
    for item in failing:
        with pytest.raises(Permanent, match="does not exist"):
            await source.prepare(item, spec, lambda done, size: None)
    assert requests(sandbox) <= 105


async def test_links_that_were_looked_up_are_not_looked_up_again_when_another_one_must_be_retried(
    sandbox: Sandbox, start: Start, channel: Chat
) -> None:
    source = source_of(await start(bot=True))
    spec = task(range(FIRST, FIRST + 100))
    real, failing = source._accounts.resolve, [True]

    async def resolve(link: Any, *args: Any, **more: Any) -> Any:
        if link.message == FIRST + 50 and failing.pop():
            failing.append(False)
            raise Retryable("try again")
        return await real(link, *args, **more)

    source._accounts.resolve = resolve  # type: ignore[method-assign]
    with pytest.raises(Retryable):
        await source.resolve(spec)
    sandbox.counters.clear()
    files = await source.resolve(spec)
    assert [file.source["message"] for file in files] == list(range(FIRST, FIRST + 100))
    assert requests(sandbox) == 1


async def test_links_of_an_album_share_a_request_and_find_all_of_its_files(
    sandbox: Sandbox, start: Start
) -> None:
    accounts = await start(bot=True)
    sandbox.counters.clear()
    assert await resolved(accounts, (131, 132, 133, 134)) == [4] * 4
    assert requests(sandbox) == 1


async def test_an_album_at_the_edge_of_a_full_request_is_complete(
    sandbox: Sandbox, start: Start, channel: Chat
) -> None:
    accounts = await start(bot=True)
    sandbox.counters.clear()
    numbers = [134, *range(FIRST, FIRST + 99)]
    assert await resolved(accounts, numbers) == [4] + [1] * 99
    assert requests(sandbox) == 2


async def test_a_message_that_is_missing_fails_only_its_own_link(
    sandbox: Sandbox, start: Start, channel: Chat
) -> None:
    accounts = await start(bot=True)
    numbers = [FIRST, FIRST + 1, FIRST + 500]
    first, second, missing = await resolved(accounts, numbers)
    assert (first, second) == (1, 1)
    assert isinstance(missing, Permanent)
    assert str(FIRST + 500) in missing.message


async def test_every_link_falls_back_to_another_account(
    sandbox: Sandbox, start: Start, channel: Chat
) -> None:
    """The bot is not a member of the chat, the user is."""
    private = sandbox.world.add_chat(Chat(id=1600000009, title="P", members={samples.USER.id}))
    for number in range(2, 22):
        sandbox.world.post(private, replace(channel.messages[123], id=number))
    accounts = await start(bot=True, user=True)
    links = [parse(f"https://t.me/c/1600000009/{number}") for number in range(2, 22)]
    sandbox.counters.clear()
    found = await asyncio.gather(*map(accounts.resolve, links))
    assert {media.account for files in found for media in files} == {"me"}
    assert requests(sandbox) <= 3


async def test_a_canceled_lookup_does_not_cancel_those_that_share_its_request(
    sandbox: Sandbox, start: Start, channel: Chat
) -> None:
    accounts = await start(bot=True)
    tasks = [
        asyncio.create_task(accounts.resolve(parse(f"https://t.me/channel/{number}")))
        for number in range(FIRST, FIRST + 10)
    ]
    await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert [len(each) for each in results[1:] if not isinstance(each, BaseException)] == [1] * 9


async def test_files_that_are_found_again_share_a_request(
    sandbox: Sandbox, start: Start, channel: Chat
) -> None:
    accounts = await start(bot=True)
    [media] = await accounts.resolve(parse(f"https://t.me/channel/{FIRST}"))
    sources = [{**media.source(), "message": number} for number in range(FIRST, FIRST + 100)]
    sandbox.counters.clear()
    found = await asyncio.gather(*map(accounts.find, sources))
    assert [each.message_id for each in found] == list(range(FIRST, FIRST + 100))
    assert requests(sandbox) <= 2


class BrokenAccounts:
    """Accounts that cannot look links up while `is_broken`."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def is_broken(self, message: int) -> bool:
        return True

    async def resolve(self, link: Any, only: Any, **options: Any) -> list[Any]:
        await asyncio.sleep(0)
        self.asked.append(link.message)
        if self.is_broken(self.asked[-1]):
            raise Offline("the network is down")
        raise Permanent("message {id} does not exist", id=self.asked[-1])


async def test_links_are_not_looked_up_one_after_the_other_while_the_network_is_down() -> None:
    accounts = BrokenAccounts()
    source, spec = source_of(cast(Any, accounts)), task(range(1, 10_001))
    with pytest.raises(Offline):
        await source.resolve(spec)
    assert len(accounts.asked) < 500
    accounts.asked.clear()
    accounts.is_broken = lambda message: False  # type: ignore[method-assign]
    with pytest.raises(Permanent, match="message 1 does not exist"):
        await source.resolve(spec)
    assert sorted(accounts.asked) == list(range(1, 10_001))


async def test_errors_that_pass_stop_no_other_link() -> None:
    accounts = BrokenAccounts()
    accounts.is_broken = lambda message: message % 10 == 0  # type: ignore[method-assign]
    source, spec = source_of(cast(Any, accounts)), task(range(1, 10_001))
    with pytest.raises(Offline):
        await source.resolve(spec)
    assert len(accounts.asked) == 10_000
    accounts.asked.clear()
    with pytest.raises(Offline):
        await source.resolve(spec)
    assert sorted(accounts.asked) == list(range(10, 10_001, 10))[: len(accounts.asked)]
