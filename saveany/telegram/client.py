"""One account's control connection: requests go in, answers or Telethon's errors come out.

Telethon reconnects by itself without a pause between tries, waits for ever for a server that accepts and
stays silent, and cancels the caller's future when a connection closes. So its own reconnecting is off and
all three are done here, with bounds.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

from redis.asyncio import Redis
from telethon import TelegramClient, utils
from telethon import errors as tg
from telethon.network import MTProtoSender
from telethon.tl import functions, types
from telethon.tl.alltlobjects import LAYER
from telethon.tl.tlobject import TLRequest

from saveany.logs import get_logger
from saveany.telegram.addresses import Address, AddressBook, Purpose, usable
from saveany.telegram.errors import (
    NETWORK,
    WRONG_HASH,
    LibraryError,
    Unreachable,
    flood_seconds,
    is_known,
    unknown_key,
)
from saveany.telegram.session import Login, Session
from saveany.telegram.settings import ClientSettings
from saveany.telegram.wire import ConnectionRoute

T = TypeVar("T")

CONNECT_SECONDS = 10.0
CALL_SECONDS = 15.0
#: Flood waits up to this are slept here; longer ones are the caller's to decide (another account?).
CALL_PATIENCE = 10.0
_CLOSE_SECONDS = 2.0
_TRIES = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
#: The fields in which requests name chats and people.
_PEERS = ("peer", "peers", "channel", "id")

_log = get_logger("saveany.telegram")

# Telethon logs every lost connection as an error with a traceback; each of them reaches us as an exception
# too, and is told once, in our words.
_TELETHON_LOG = logging.getLogger("saveany.telethon")
_TELETHON_LOG.setLevel(logging.CRITICAL)


async def within(seconds: float, work: Awaitable[T]) -> T:
    """The result of `work`, or `TimeoutError` after `seconds`.

    When a connection closes Telethon cancels the futures of its requests; that is a `ConnectionError` here,
    so that `CancelledError` only ever means that the caller itself is being canceled. Whatever else it
    stumbles over, in bytes that make no sense for example, is one, too: `LibraryError`.
    """
    future = asyncio.ensure_future(work)
    try:
        await asyncio.wait({future}, timeout=seconds)
        if not future.done():
            raise TimeoutError(f"no answer within {seconds:.0f} s")
        if future.cancelled():
            raise ConnectionError("the connection was closed")
        error = future.exception()
        if isinstance(error, Exception) and not is_known(error):
            _log.error("Telegram's library failed unexpectedly", exc_info=error)
            raise LibraryError(type(error).__name__) from error
        return future.result()
    finally:
        future.cancel()


async def connected(sender: MTProtoSender, work: Awaitable[Any], seconds: float) -> None:
    """Wait for a sender's connection to be made, not for ever."""
    try:
        await within(seconds, work)
    except NETWORK as error:
        if unknown_key(error):
            raise
        raise Unreachable(*error.args) from (getattr(sender._connection, "failure", None) or error)


def alive(sender: MTProtoSender) -> bool:
    """Whether a request given to the sender now will be sent; one that is about to close still takes them."""
    return bool(sender.is_connected() and sender._transport_connected())


async def hang_up(sender: MTProtoSender, disconnect: Awaitable[Any]) -> None:
    """Close a sender's connection, whatever state it is in."""
    with suppress(*NETWORK):
        await within(_CLOSE_SECONDS, disconnect)
    ended = sender._disconnected
    if ended.done() and not ended.cancelled():
        ended.exception()  # seen: else asyncio complains that nobody looked at it


class Backoff:
    """Pauses between failing tries to connect: doubling, with jitter, bounded; none after a success."""

    def __init__(self) -> None:
        self._failures = 0
        self._not_before = 0.0

    async def pause(self) -> None:
        """Wait until the next try is due."""
        await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))

    def failed(self) -> None:
        """A try failed."""
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._failures)
        self._failures = min(self._failures + 1, 10)  # enough to reach the longest pause
        self._not_before = time.monotonic() + longest * random.uniform(0.7, 1.0)  # noqa: S311  # no secret

    def succeeded(self) -> None:
        """The connection works."""
        self._failures = 0


class Client:
    """The control connection of one account. Connects when needed and again when it was lost."""

    def __init__(
        self,
        name: str,
        settings: ClientSettings,
        login: Login | None,
        redis: Redis | None = None,
        *,
        listens: bool = False,
    ) -> None:
        self.name = name
        self.listens = listens
        #: If it listens: TL `Updates` as they come, those of its own doing marked `_self_outgoing`. There is
        #: an `UpdatesTooLong` whenever the connection was made or lost, or Telegram began a new session.
        self.pushed: asyncio.Queue[Any] = asyncio.Queue()
        self.settings = settings
        self.session = Session(login, redis)
        if login is None:
            self.session.set_dc(settings.dc_id, *settings.address)
        else:
            self.session.set_dc(login.dc_id, *settings.at_home(login))
        self.user: types.User | None = None  # known once `open` has returned
        self.addresses = AddressBook()
        self._backoff = Backoff()
        self._lock = asyncio.Lock()
        self._config: types.Config | None = None
        self._telegram = _Telegram(self)

    @property
    def is_bot(self) -> bool:
        """Whether the account is a bot; known once `open` has returned."""
        return bool(self.user and self.user.bot)

    @property
    def home(self) -> int:
        """Number of the account's own data centre."""
        return int(self.session.dc_id)

    @property
    def loggers(self) -> Any:
        """What Telethon's own classes want for their logs."""
        return self._telegram._log

    async def open(self) -> types.User:
        """Connect and ask who we are. Raises Telethon's errors; an ended login is an `UnauthorizedError`."""
        answer = await self.call(functions.users.GetUsersRequest([types.InputUserSelf()]))
        self.user = answer[0]
        self.session.user_id = self.user.id
        await self.session.flush()
        if not await self.session.addresses():
            await self.config()  # so that the next start knows other addresses if this one dies
        return self.user

    async def close(self) -> None:
        """Hang up. The login stays valid."""
        async with self._lock:
            await self._hang_up()

    async def call(self, request: TLRequest) -> Any:
        """The answer to one request. Short flood waits are slept, lost connections made anew, both bounded.

        Raises Telethon's errors, `TimeoutError` and `ConnectionError`. A request may be sent more than
        once, so it must be one that may.
        """
        return await self._tried(lambda: self._telegram(request))

    async def post(self, request: TLRequest, patience: float = CALL_PATIENCE) -> Any:
        """As `call`, but an error of the server is raised at once: for what is not to be sent twice, and says
        so with such an error when it was. Only flood waits up to `patience` are slept."""
        plain = functions.InvokeWithoutUpdatesRequest(request)
        return await self._tried(lambda: self._telegram._sender.send(plain), patience)

    async def _tried(self, ask: Callable[[], Awaitable[Any]], patience: float = CALL_PATIENCE) -> Any:
        for attempt in range(_TRIES):
            try:
                await self.connect()
                answer = await within(CALL_SECONDS, ask())
                await self.session.flush()
                return answer
            except NETWORK:
                await self.close()
                if attempt == _TRIES - 1:
                    raise
            except tg.FloodError as error:
                if attempt == _TRIES - 1 or flood_seconds(error) > patience:
                    raise
                await asyncio.sleep(flood_seconds(error))
            except WRONG_HASH as error:
                if peer := refused_peer(error):
                    await self.session.forget_hash(_marked(peer), peer.access_hash)
                raise
        raise AssertionError("the last try returns or raises")

    async def afresh(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` gives. If Telegram refuses an access hash that was remembered, which is forgotten then,
        it is done once more."""
        try:
            return await work()
        except Exception as error:
            if refused_peer(error) is None:
                raise
        return await work()

    async def reach(
        self, dc_id: int, purpose: Purpose, connect: Callable[[Address, float], Awaitable[T]]
    ) -> T:
        """What `connect(address, seconds)` returns for the first address of a data centre that answers."""
        return await self.addresses.first(await self._listed(dc_id, purpose), connect, CONNECT_SECONDS)

    async def _listed(self, dc_id: int, purpose: Purpose) -> list[Address]:
        """Where a data centre answers, for files or a CDN if that is the purpose; best first."""
        listed = usable((await self.config()).dc_options, dc_id, purpose, proxied=self._proxied)
        if dc_id == self.home and purpose is not Purpose.CDN:
            main = (self.session.server_address, self.session.port)  # is in use, but not meant for files
            others = [each for each in listed if each != main]
            listed = [*others, main] if purpose is Purpose.FILES else [main, *others]
        if not listed:
            raise ConnectionError(f"Telegram lists no address for data centre {dc_id}")
        return listed

    async def _homes(self) -> list[Address]:
        """Where the account's own data centre answers, as far as is known without asking it."""
        known = await self.session.addresses()
        if self._config is not None:
            options = self._config.dc_options
            known = usable(options, self.home, Purpose.CONTROL, proxied=self._proxied)
        return [(self.session.server_address, self.session.port), *known]

    @property
    def _proxied(self) -> bool:
        return bool(self.settings.proxy)

    async def main_address(self, dc_id: int) -> Address:
        """The address for the control connection to a data centre."""
        return self.addresses.ordered(await self._listed(dc_id, Purpose.CONTROL))[0]

    async def move(self, dc_id: int) -> None:
        """Be at home in another data centre from now on, with a new key; for a login that is not finished."""
        address = await self.main_address(dc_id)
        async with self._lock:
            await self._hang_up()
            self.session.set_dc(dc_id, *address)
            self.session.auth_key = self._telegram._sender.auth_key.key = None

    async def config(self) -> types.Config:
        """Telegram's own configuration, asked for again when it says that it has expired."""
        if self._config is None or self._config.expires < datetime.now(UTC):
            self._config = await self.call(functions.help.GetConfigRequest())
            await self.session.keep_addresses(await self._homes())
        return self._config

    async def cdn_keys(self, dc_id: int) -> list[str]:
        """The RSA keys of a CDN data centre, as PEM."""
        config = await self.call(functions.help.GetCdnConfigRequest())
        return [each.public_key for each in config.public_keys if each.dc_id == dc_id]

    def first_request(self, query: TLRequest) -> TLRequest:
        """What a new connection must send first: who the application is, and `query` with it."""
        own = self._telegram._init_request
        init = functions.InitConnectionRequest(
            api_id=own.api_id,
            device_model=own.device_model,
            system_version=own.system_version,
            app_version=own.app_version,
            system_lang_code=own.system_lang_code,
            lang_pack=own.lang_pack,
            lang_code=own.lang_code,
            query=query,
            proxy=own.proxy,
        )
        return functions.InvokeWithLayerRequest(LAYER, functions.InvokeWithoutUpdatesRequest(init))

    @property
    def is_connected(self) -> bool:
        """Whether a request would be sent now."""
        return alive(self._telegram._sender)

    async def connect(self) -> None:
        """Be connected, anew if the connection is gone."""
        async with self._lock:
            if alive(self._telegram._sender):
                return
            await self._hang_up()
            await self._backoff.pause()
            main = (self.session.server_address, self.session.port)
            try:
                await self.addresses.first(await self._homes(), self._connect_to, CONNECT_SECONDS)
            except BaseException:
                self.session.set_dc(self.home, *main)  # it may be known from the login only
                self._backoff.failed()
                raise
            self._backoff.succeeded()
            self.heard(types.UpdatesTooLong())
            self._telegram._sender._disconnected.add_done_callback(
                lambda _: self.heard(types.UpdatesTooLong())
            )

    async def _connect_to(self, address: Address, seconds: float) -> None:
        self.session.set_dc(self.home, *address)
        self._telegram._use_ipv6 = ":" in address[0]  # else Telethon replaces the address by one of its own
        try:
            await connected(self._telegram._sender, self._telegram.connect(), seconds)
        except BaseException:
            await self._hang_up()
            raise

    def heard(self, updates: Any) -> None:
        """For Telethon: an update has come."""
        if self.listens:
            self.pushed.put_nowait(updates)

    async def _hang_up(self) -> None:
        await hang_up(self._telegram._sender, self._telegram.disconnect())
        # Message ids are times. If this machine's clock was set back, all that Telegram sends seems to come
        # from the future and is ignored, until ids and offset are found anew, as by a first connection.
        state = self._telegram._sender._state
        state.reset()
        state.time_offset = 0


def refused_peer(error: BaseException) -> Any:
    """The chat or person whose access hash was refused, as the request named it.

    None if neither the error nor its cause is about that, or the request named several, or none by a hash.
    """
    while not isinstance(error, WRONG_HASH):
        if error.__cause__ is None:
            return None
        error = error.__cause__
    request = vars(error)["request"]
    while hasattr(request, "query"):
        request = request.query
    named = [found for name in _PEERS for found in _peers_in(getattr(request, name, None))]
    return named[0] if len(named) == 1 and named[0].access_hash else None


def _peers_in(named: Any) -> list[Any]:
    """The chats and people in a field of a request that are named by an access hash."""
    several = named if isinstance(named, list) else [named]
    peers = [each.peer if isinstance(each, types.InputDialogPeer) else each for each in several]
    return [each for each in peers if hasattr(each, "access_hash")]


def _marked(peer: Any) -> int:
    number = getattr(peer, "channel_id", None)
    return int(peer.user_id if number is None else utils.get_peer_id(types.PeerChannel(number)))


class _Telegram(TelegramClient):  # type: ignore[misc]  # Telethon is not typed
    """Telethon's client with bounds on everything it repeats, and its configuration per object, not class."""

    def __init__(self, owner: Client) -> None:
        super().__init__(
            owner.session,
            owner.settings.app_id,
            owner.settings.app_hash,
            connection=ConnectionRoute,
            proxy=owner.settings.proxy,
            timeout=10,
            connection_retries=1,
            retry_delay=0,
            auto_reconnect=False,
            request_retries=3,  # moving to another data centre at login is one of them
            raise_last_call_error=True,
            flood_sleep_threshold=0,
            device_model="SaveAny",
            base_logger=_TELETHON_LOG,
            receive_updates=owner.listens,
        )
        self._owner = owner
        self._sender._handlers[types.NewSessionCreated.CONSTRUCTOR_ID] = self._session_began

    async def _session_began(self, message: Any) -> None:
        """Telegram has forgotten what this connection wants to be told, and what it was told is unknown."""
        await self._sender._handle_new_session_created(message)
        self._owner.heard(types.UpdatesTooLong())

    async def _update_loop(self) -> None:
        """In place of Telethon's own, which does not outlive a restart; see `updates.Feed`."""
        while True:
            self._owner.heard(await self._updates_queue.get())

    async def get_me(self, input_peer: bool = False) -> None:
        """Telethon wants to know it, and where updates are, at each new connection: for the loop above."""

    async def _get_dc(self, dc_id: int, cdn: bool = False) -> types.DcOption:
        host, port = await self._owner.main_address(dc_id)
        return types.DcOption(dc_id, host, port)
