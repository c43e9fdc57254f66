"""Our signatures against the published vector and the official verifier."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from saveany.errors import ConfigError
from saveany.webhooks.signing import Signer, new_secret


def test_the_published_test_vector_is_reproduced() -> None:
    headers = Signer("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", '{"test": 2432232314}', 1614265330_999
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(body=st.text(st.characters(codec="utf-8")), id_=st.text("abcXYZ019_-", min_size=1))
def test_the_official_verifier_accepts_every_body(body: str, id_: str) -> None:
    secret = new_secret()
    Webhook(secret).verify(body, Signer(secret).headers(id_, body, _now_ms()), json_parse=False)


@pytest.mark.parametrize(
    "change",
    [{"webhook-id": "other"}, {"webhook-timestamp": "later"}, {"body": "{}"}, {"secret": new_secret()}],
    ids=lambda change: next(iter(change)),
)
def test_the_official_verifier_refuses_tampered_requests(change: dict[str, str]) -> None:
    secret = new_secret()
    sent = Signer(secret).headers("id", '{"a":1}', _now_ms())
    if "webhook-timestamp" in change:
        change = {"webhook-timestamp": str(int(sent["webhook-timestamp"]) + 1)}
    body, secret = change.get("body", '{"a":1}'), change.get("secret", secret)
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(secret).verify(body, {**sent, **change})


def test_secrets_are_fresh_and_have_32_random_bytes() -> None:
    one, other = new_secret(), new_secret()
    assert one != other
    assert len(base64.b64decode(one.removeprefix("whsec_"), validate=True)) == 32


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_!!!",
        "hunter2hunter2hunter2hunter2hunter2",
        "whsec_c2hvcnQ=",
        "whsec_é" + "A" * 40,
    ],
)
def test_invalid_secrets_are_refused_without_quoting_them(secret: str) -> None:
    with pytest.raises(ConfigError, match=r"api\.webhook_secret") as refused:
        Signer(secret)
    assert secret.removeprefix("whsec_") == "" or secret not in str(refused.value)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
