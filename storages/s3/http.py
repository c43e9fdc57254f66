"""The HTTP session of the S3 client: uses the configured proxy, and follows no redirects."""

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
    """A session class for the client's configuration. `proxy` is a SOCKS or HTTP URL, "" for no proxy."""
    return partial(_Session, proxy=proxy)


class _Session(AIOHTTPSession):  # type: ignore[misc]  # aiobotocore is not typed
    """Follows no redirects: a service must not lead us to other hosts, and botocore handles those of S3."""

    def __init__(self, *args: Any, proxy: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._own_proxy = proxy

    async def _create_connector(self, proxy_url: str | None) -> BaseConnector:
        if self._own_proxy:
            return _Connector(self._own_proxy, limit=self._max_pool_connections, **self._connector_args)
        connector: BaseConnector = await super()._create_connector(proxy_url)
        return connector

    async def _get_session(self, proxy_url: str | None) -> _NoRedirects:
        return _NoRedirects(await super()._get_session(proxy_url))


class _NoRedirects:
    """The part of a session that the client uses."""

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    async def request(self, *args: Any, **kwargs: Any) -> Any:
        return await self._session.request(*args, allow_redirects=False, **kwargs)


class _Handler(ResponseHandler):
    """A connection. It holds its streams, because garbage collection would close them."""

    streams: Streams | None = None


class _Connector(BaseConnector):
    """Connects with `saveany.net`: aiohttp has no SOCKS, and other errors for HTTP proxies."""

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
