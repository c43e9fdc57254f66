"""A real HTTP server on loopback that records its clients."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.fixtures.tcp import TcpServer, running


class Server(TcpServer):
    """Sends the same reply to every request."""

    def __init__(self, answer: bytes, *, closes: bool) -> None:
        super().__init__(self._reply)
        self.answer = answer
        self.requests: list[str] = []
        self._closes = closes  # whether the answer ends with the connection

    async def _reply(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            self.requests.append(head.decode())
            writer.write(self.answer)
            await writer.drain()
            if self._closes:
                break


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\n\r\nok"


@asynccontextmanager
async def serving(
    answer: bytes = OK, tls: ssl.SSLContext | None = None, *, close: bool = False
) -> AsyncIterator[Server]:
    server = Server(answer, closes=close)
    async with running(server, tls):
        yield server


class FakeDns:
    """A resolver with scripted answers: the last one repeats."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def certificate(folder: Path) -> Path:
    """A self-signed certificate for hook.example with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hook.example")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, pkcs8, plain)
        + cert.public_bytes(serialization.Encoding.PEM)
    )
    return file
