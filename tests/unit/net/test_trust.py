"""Which certificates are trusted."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from saveany.errors import ConfigError
from saveany.net import trust
from saveany.net.client import describe, plain_client
from tests.fixtures.certificates import certificate
from tests.fixtures.faultproxy import fault_proxy
from tests.unit.net.servers import serving


@pytest.fixture(autouse=True)
def restored_trust() -> Iterator[None]:
    yield
    trust.add(None)


async def get(port: int) -> str:
    async with plain_client(timeout=10) as client:
        return (await client.get(f"https://127.0.0.1:{port}/")).text


async def test_a_configured_certificate_is_trusted(tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    async with serving() as server, fault_proxy(server.port, pem) as tls:
        with pytest.raises(httpx.ConnectError) as caught:
            await get(tls.port)
        assert str(describe(caught.value)).startswith("the certificate is not valid: self")
        assert str(describe(caught.value)).endswith("[net] ca_file")
        trust.add(Path(pem))
        assert await get(tls.port) == "ok"
        trust.add(None)
        with pytest.raises(httpx.ConnectError):
            await get(tls.port)


def test_the_bundle_contains_system_and_configured_certificates(tmp_path: Path) -> None:
    system = trust.bundle().read_bytes()
    own = Path(certificate(tmp_path))
    trust.add(own)
    assert trust.bundle().read_bytes() == system + b"\n" + own.read_bytes() + b"\n"
    assert trust.environment()["SSL_CERT_FILE"] == str(trust.bundle())


@pytest.mark.parametrize(
    "text", [None, "", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_a_file_without_certificates_is_refused(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "ca.pem"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=r"^net\.ca_file: .*ca\.pem"):
        trust.add(file)


COUNT = "from saveany.net import trust; print(len(trust.new_context().get_ca_certs()), trust.bundle())"


def counted(**env: str) -> list[str]:
    own = {name: text for name, text in os.environ.items() if not name.startswith("SSL_CERT_")}
    return subprocess.run(
        [sys.executable, "-c", COUNT], env=own | env, check=True, capture_output=True, text=True
    ).stdout.split()


def test_the_variables_of_openssl_are_respected(tmp_path: Path) -> None:
    own = certificate(tmp_path)
    assert counted(SSL_CERT_FILE=own) == ["1", own]


def test_without_system_certificates_a_bundle_is_still_found(tmp_path: Path) -> None:
    number, file = counted(SSL_CERT_FILE=str(tmp_path / "none"), SSL_CERT_DIR=str(tmp_path))
    assert int(number) > 50
    assert Path(file).is_file()
