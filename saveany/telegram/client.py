"""The control connection of one account: it sends requests and returns replies or raises Telethon's errors.

Telethon reconnects without a pause between attempts, waits without limit for a server that accepts a
connection and stays silent, and cancels the caller's future when a connection closes. So its reconnection is
turned off, and this module does all three with limits.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

from telethon import TelegramClient, utils
from telethon import errors as tg
from telethon.extensions import BinaryReader
from telethon.network import MTProtoSender
from telethon.tl import functions, types
from telethon.tl.alltlobjects import LAYER
from telethon.tl.tlobject import TLRequest

from saveany.logs import get_logger
from saveany.store.telegram import TelegramStore
from saveany.telegram.addresses import Address
from saveany.telegram.data_centers import DataCenters
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
from saveany.telegram.takeout import TAKEOUT_ENDED, takeout_of, wrapped
from saveany.telegram.unparsed import UnparsedReply, UnparsedRequest
from saveany.telegram.wire import ConnectionRoute

T = TypeVar("T")

CALL_SECONDS = 15.0
#: Maximum seconds of a flood wait that is waited out here; for longer ones the caller may choose another
#: account.
MAX_FLOOD_WAIT = 10.0
_CLOSE_SECONDS = 2.0
_TRIES = 3
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 10.0
#: The fields of requests that name chats and users.
_PEERS = ("peer", "peers", "channel", "id", "user_id")

_log = get_logger("saveany.telegram")

# Telethon logs every lost connection as an error with a traceback. Each of them also raises an exception here
# and is logged once, by this project.
_TELETHON_LOG = logging.getLogger("saveany.telethon")
_TELETHON_LOG.setLevel(logging.CRITICAL)


async def with_timeout(seconds: float, work: Awaitable[T]) -> T:
    """The result of `work`. Raises `TimeoutError` after `seconds`.

    When a connection closes, Telethon cancels the futures of its requests; this raises `ConnectionError`
    instead, so that `CancelledError` always means that the caller is being canceled. Any error that Telethon
    does not define, for example because of malformed data, becomes a `LibraryError`.
    """
    future = asyncio.ensure_future(work)
    try:
        await asyncio.wait({future}, timeout=seconds)
        if not future.done():
            raise TimeoutError(f"no reply within {seconds:.0f} s")
        if future.cancelled():
            raise ConnectionError("the connection was closed")
        error = future.exception()
        if isinstance(error, Exception) and not is_known(error):
            _log.error("telethon_failed", exc_info=error)
            raise LibraryError(type(error).__name__) from error
        return future.result()
    finally:
        future.cancel()


async def wait_connected(sender: MTProtoSender, work: Awaitable[Any], seconds: float) -> None:
    """Wait for a sender to connect. Raises `Unreachable` if it fails or takes more than `seconds`."""
    try:
        await with_timeout(seconds, work)
    except NETWORK as error:
        if unknown_key(error):
            raise
        raise Unreachable(*error.args) from (getattr(sender._connection, "failure", None) or error)


def is_usable(sender: MTProtoSender) -> bool:
    """Whether a request sent now would go out. A sender about to close still accepts requests."""
    return bool(sender.is_connected() and sender._transport_connected())


async def disconnect(sender: MTProtoSender, disconnect: Awaitable[Any]) -> None:
    """Close a sender's connection, in any state."""
    with suppress(*NETWORK):
        await with_timeout(_CLOSE_SECONDS, disconnect)
    # Telethon may have been closing a lost connection in the background. It leaves this set if that is
    # canceled; the next connection would then neither send nor receive anything.
    sender._reconnecting = False
    ended = sender._disconnected
    if ended.done() and not ended.cancelled():
        ended.exception()  # mark as retrieved, or asyncio logs it


class Backoff:
    """Pauses between failed connection attempts: doubling, with jitter, up to a maximum; none after a
    success."""

    def __init__(self) -> None:
        self._failures = 0
        self._not_before = 0.0

    async def pause(self) -> None:
        """Wait until the next attempt is due."""
        await asyncio.sleep(max(0.0, self._not_before - time.monotonic()))

    def failed(self) -> None:
        """Record a failed attempt."""
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**self._failures)
        self._failures = min(self._failures + 1, 10)  # enough to reach the longest pause
        self._not_before = time.monotonic() + longest * random.uniform(0.7, 1.0)  # noqa: S311  # no secret

    def succeeded(self) -> None:
        """Reset the pause."""
        self._failures = 0


class MtprotoClient:
    """The control connection of one account. It connects when needed, and again after it was lost."""

    def __init__(
        self,
        name: str,
        settings: ClientSettings,
        login: Login | None,
        store: TelegramStore | None = None,
        *,
        receives_updates: bool = False,
    ) -> None:
        self.name = name
        #: TL `Updates` as they arrive, if it receives updates; those it caused are marked `_self_outgoing`.
        #: An `UpdatesTooLong` is added whenever the connection was made or lost, or Telegram began a new
        #: session.
        self.pushed: asyncio.Queue[Any] = asyncio.Queue()
        self._listener: Callable[[Any], None] | None = self.pushed.put_nowait if receives_updates else None
        self.settings = settings
        self.session = Session(login, store)
        if login is None:
            self.session.set_dc(settings.dc_id, *settings.address)
        else:
            self.session.set_dc(login.dc_id, *settings.home_address(login))
        self.user: types.User | None = None  # known once `open` has returned
        self.data_centers = DataCenters(self.session, self.call, proxied=bool(settings.proxy))
        self._backoff = Backoff()
        self._lock = asyncio.Lock()
        self._telegram = _Telegram(self)

    @property
    def is_bot(self) -> bool:
        """Whether the account is a bot; known once `open` has returned."""
        return bool(self.user and self.user.bot)

    @property
    def home_dc(self) -> int:
        """Id of the account's own data center."""
        return int(self.session.dc_id)

    @property
    def loggers(self) -> Any:
        """The loggers for Telethon's classes."""
        return self._telegram._log

    async def open(self) -> types.User:
        """Connect and fetch the account's user. Raises Telethon's errors; `UnauthorizedError` if the login is
        dead."""
        reply = await self.call(functions.users.GetUsersRequest([types.InputUserSelf()]))
        self.user = reply[0]
        self.session.user_id = self.user.id
        await self.session.flush()
        if not await self.session.addresses():
            # This stores other addresses for the next start, in case this one dies.
            await self.data_centers.config()
        return self.user

    async def close(self) -> None:
        """Disconnect. The login stays valid."""
        async with self._lock:
            await self._disconnect()

    async def call(self, request: TLRequest) -> Any:
        """The reply to one request. Waits out short flood waits and reconnects, both within limits.

        Raises Telethon's errors, `TimeoutError` and `ConnectionError`. A request may be sent more than once,
        so it must be safe to repeat.
        """
        if type(request).read_result is TLRequest.read_result:
            return await self._in_takeout(request, self._telegram)
        # Its reply is no TL object, which Telethon expects of the requests that it wraps.
        await request.resolve(self._telegram, utils)
        reply = await self._in_takeout(request, self._send_unparsed)
        return request.read_result(BinaryReader(reply))

    async def call_unparsed(self, request: TLRequest) -> UnparsedReply:
        """As `call`, for replies of type `messages.Messages`, which are parsed on demand."""
        await request.resolve(self._telegram, utils)
        remember = self.session.process_entities
        try:
            return UnparsedReply(await self._in_takeout(request, self._send_unparsed), remember)
        except (tg.ServerError, tg.RpcCallFailError, tg.TimedOutError):  # `call` makes some more attempts
            return UnparsedReply(bytes(await self.call(request)), remember)

    def _send_unparsed(self, request: TLRequest) -> Awaitable[bytes]:
        if not self.receives_updates:
            request = functions.InvokeWithoutUpdatesRequest(request)
        sent: Awaitable[bytes] = self._telegram._sender.send(UnparsedRequest(request))
        return sent

    async def _in_takeout(self, request: TLRequest, send: Callable[[TLRequest], Awaitable[T]]) -> T:
        """The reply to a request that `send` sends, as part of the current takeout if there is one."""
        if takeout := takeout_of(self.name):
            try:
                return await self._with_retries(lambda: send(wrapped(request, takeout.id)))
            except TAKEOUT_ENDED:
                takeout.has_ended = True
        return await self._with_retries(lambda: send(request))

    async def send_once(self, request: TLRequest, max_flood_wait: float = MAX_FLOOD_WAIT) -> Any:
        """As `call`, but errors of the server are raised at once, for requests that the server rejects with
        an error when they are repeated. Only flood waits up to `max_flood_wait` seconds are waited out."""
        wrapped = functions.InvokeWithoutUpdatesRequest(request)
        return await self._with_retries(lambda: self._telegram._sender.send(wrapped), max_flood_wait)

    async def _with_retries(
        self, send: Callable[[], Awaitable[T]], max_flood_wait: float = MAX_FLOOD_WAIT
    ) -> T:
        for attempt in range(_TRIES):
            try:
                await self.connect()
                reply = await with_timeout(CALL_SECONDS, send())
                await self.session.flush()
                return reply
            except NETWORK:
                await self.close()
                if attempt == _TRIES - 1:
                    raise
            except tg.FloodError as error:
                # Telethon would refuse all such requests until then, but other chats may be readable.
                self._telegram._flood_waited_requests.clear()
                if attempt == _TRIES - 1 or flood_seconds(error) > max_flood_wait:
                    raise
                await asyncio.sleep(flood_seconds(error))
            except WRONG_HASH as error:
                if peer := refused_peer(error):
                    await self.session.forget_hash(_marked(peer), peer.access_hash)
                raise
        raise AssertionError("the last attempt returns or raises")

    async def retry_with_new_hash(self, work: Callable[[], Awaitable[T]]) -> T:
        """The result of `work`. If Telegram refuses an access hash that was remembered, the hash is forgotten
        and `work` runs once more."""
        try:
            return await work()
        except Exception as error:
            if refused_peer(error) is None:
                raise
        return await work()

    async def move_to_dc(self, dc_id: int) -> None:
        """Make another data center the account's own, with a new key; only for an unfinished login."""
        address = await self.data_centers.main_address(dc_id)
        async with self._lock:
            await self._disconnect()
            self.session.set_dc(dc_id, *address)
            self.session.auth_key = self._telegram._sender.auth_key.key = None

    def initial_request(self, query: TLRequest) -> TLRequest:
        """The first request on a new connection: it identifies the application and carries `query`."""
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
        """Whether a request sent now would go out."""
        return is_usable(self._telegram._sender)

    async def connect(self) -> None:
        """Connect, unless already connected."""
        async with self._lock:
            if is_usable(self._telegram._sender):
                return
            await self._disconnect()
            await self._backoff.pause()
            main = (self.session.server_address, self.session.port)
            try:
                await self.data_centers.connect_home(self._connect_to)
            except BaseException:
                self.session.set_dc(self.home_dc, *main)  # restore the address of the login
                self._backoff.failed()
                raise
            self._backoff.succeeded()
            self.on_update(types.UpdatesTooLong())
            self._telegram._sender._disconnected.add_done_callback(
                lambda _: self.on_update(types.UpdatesTooLong())
            )

    async def _connect_to(self, address: Address, seconds: float) -> None:
        self.session.set_dc(self.home_dc, *address)
        self._telegram._use_ipv6 = ":" in address[0]  # otherwise Telethon replaces the address
        try:
            await wait_connected(self._telegram._sender, self._telegram.connect(), seconds)
        except BaseException:
            await self._disconnect()
            raise

    @property
    def receives_updates(self) -> bool:
        """Whether Telegram is to push updates to this connection."""
        return self._listener is not None

    async def listen(self, listener: Callable[[Any], None] | None) -> None:
        """From now on pass TL `Updates` to `listener` instead of `pushed`; with None, receive none. After an
        error it may receive them only from the next request on."""
        if listener == self._listener:
            return
        self._listener = listener
        self._telegram._no_updates = listener is None
        if listener:  # pushes begin with the reply to a request that asks for them
            await self.call(functions.updates.GetStateRequest())

    def on_update(self, updates: Any) -> None:
        """Pass on an update that Telethon has received."""
        if self._listener:
            self._listener(updates)

    async def _disconnect(self) -> None:
        await disconnect(self._telegram._sender, self._telegram.disconnect())
        # Message ids contain the time. After this machine's clock was set back, all messages from Telegram
        # seem to come from the future and are ignored until ids and offset are determined again, as on a
        # first connection.
        state = self._telegram._sender._state
        state.reset()
        state.time_offset = 0


def refused_peer(error: BaseException) -> Any:
    """The chat or user in a request whose access hash was refused.

    None if neither the error nor its cause concerns an access hash, or if the request names several chats and
    users, or none with a hash.
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
    """The chats and users in a field of a request that are named with an access hash."""
    several = named if isinstance(named, list) else [named]
    peers = [each.peer if isinstance(each, types.InputDialogPeer) else each for each in several]
    return [each for each in peers if hasattr(each, "access_hash")]


def _marked(peer: Any) -> int:
    number = getattr(peer, "channel_id", None)
    return int(peer.user_id if number is None else utils.get_peer_id(types.PeerChannel(number)))


class _Telegram(TelegramClient):  # type: ignore[misc]  # Telethon is not typed
    """Telethon's client with limits on its retries, and with its configuration per object instead of per
    class."""

    def __init__(self, owner: MtprotoClient) -> None:
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
            request_retries=3,  # includes moving to another data center at login
            raise_last_call_error=True,
            flood_sleep_threshold=0,
            device_model="SaveAny",
            base_logger=_TELETHON_LOG,
            receive_updates=owner.receives_updates,
        )
        self._owner = owner
        self._sender._handlers[types.NewSessionCreated.CONSTRUCTOR_ID] = self._on_new_session

    async def _on_new_session(self, message: Any) -> None:
        """Telegram has forgotten this connection's subscriptions, so updates may have been lost."""
        await self._sender._handle_new_session_created(message)
        self._owner.on_update(types.UpdatesTooLong())

    async def _update_loop(self) -> None:
        """Replaces Telethon's loop, which loses its state at a restart; see `updates.Feed`."""
        while True:
            self._owner.on_update(await self._updates_queue.get())

    async def get_me(self, input_peer: bool = False) -> None:
        """Do nothing: Telethon fetches the user and the update state on each connection, only for its update
        loop."""

    async def _get_dc(self, dc_id: int, cdn: bool = False) -> types.DcOption:
        host, port = await self._owner.data_centers.main_address(dc_id)
        return types.DcOption(dc_id, host, port)
