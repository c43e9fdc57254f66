"""How the client of S3 speaks HTTP: through the operator's proxy, and to nobody but the service."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from aiobotocore.httpsession import AIOHTTPSession
from aiohttp import ClientConnectorSSLError, ClientRequest, ClientSession, ClientTimeout
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import BaseConnector

from saveany.net import trust
from saveany.net.dial import CONNECT_SECONDS, connect
from saveany.net.upstream import Streams


def session_class(proxy: str) -> Callable[..., AIOHTTPSession]:
    """For the client's configuration. `proxy` is the URL of a SOCKS or HTTP proxy, "" for none of ours."""
    return partial(_Session, ours=proxy)


class _Session(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore is not typed
    """Follows no redirects: a service must not send us to other hosts, and botocore, which knows what one of
    S3 means, wants to see it."""

    def __init__(self, *args: Any, ours: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ours = ours

    async def _create_connector(self, proxy_url: str | None) -> BaseConnector:
        if self._ours:
            return _Connector(self._ours, limit=self._max_pool_connections, **self._connector_args)
        connector: BaseConnector = await super()._create_connector(proxy_url)
        return connector

    async def _get_session(self, proxy_url: str | None) -> _Straight:
        return _Straight(await super()._get_session(proxy_url))


class _Straight:
    """What the client uses of a session."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def request(self, *args: Any, **kwargs: Any) -> Any:
        return await self._session.request(*args, allow_redirects=False, **kwargs)


class _Handler(ResponseHandler):
    """A connection. It keeps the streams that it was made of, which would hang up if nobody did."""

    streams: Streams | None = None


class _Connector(BaseConnector):
    """Connects as all of SaveAny does: aiohttp knows no SOCKS, and has its own errors of HTTP proxies."""

    def __init__(self, proxy: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._proxy = proxy

    async def _create_connection(
        self, req: ClientRequest, traces: Any, timeout: ClientTimeout
    ) -> ResponseHandler:
        host, port = req.url.raw_host or "", req.url.port or 0
        streams = await connect(host, port, self._proxy, timeout.sock_connect or CONNECT_SECONDS)
        writer = streams[1]
        try:
            if req.url.scheme == "https":
                async with asyncio.timeout(timeout.sock_connect):
                    await writer.start_tls(trust.shared_context(), server_hostname=host)
        except BaseException as error:
            writer.transport.abort()
            if isinstance(error, ssl.SSLError):
                raise ClientConnectorSSLError(req.connection_key, error) from error
            raise
        handler = _Handler(loop=self._loop)
        handler.streams = streams
        writer.transport.set_protocol(handler)
        handler.connection_made(writer.transport)
        return handler
