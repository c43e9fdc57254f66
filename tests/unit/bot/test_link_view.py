"""Links rendered as messages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from telethon.extensions import html as telegram_html

from saveany.bot.addresses import api_url
from saveany.bot.link_view import link_line, link_view, new_links
from saveany.bot.texts import translator
from saveany.catalogue.link_models import Link, State, TelegramMedia
from saveany.config.schema import ApiConfig

T = translator("en")
BASE = "https://files.example.com"
LINK = Link(
    token="Zk3uX9q0bYtP1mR7sVw2aL",
    user_id=1,
    name="a film.mkv",
    made_at=0,
    state=State.ACTIVE,
    media=TelegramMedia({}, 1_400_000, "video/x-matroska"),
    expires_at=1_800_000_000_000,
)


def labels(link: Link, base: str = BASE) -> list[str]:
    _, keyboard = link_view(T, link, base, is_public=True)
    return [button.label for row in keyboard for button in row]


def test_a_link_is_shown_with_all_that_its_user_needs() -> None:
    text, keyboard = link_view(T, LINK, BASE, is_public=True)
    assert text.split("\n") == [
        "🔗 <b>a film.mkv</b>",
        "1.4 MB",
        f"{BASE}/dl/{LINK.token}/a%20film.mkv",
        "works until 2027-01-15 08:00 UTC",
    ]
    assert keyboard[0][0].url == f"{BASE}/s/{LINK.token}"


@pytest.mark.parametrize(
    ("state", "wanted"),
    [
        (State.ACTIVE, ["Open page", "Revoke", "Extend", "Delete", "My links"]),
        (State.EXPIRED, ["Extend", "Delete", "My links"]),
        (State.REVOKED, ["Reactivate", "Delete", "My links"]),
        (State.USED_UP, ["Reactivate", "Delete", "My links"]),
        (State.GONE, ["Delete", "My links"]),
    ],
)
def test_the_buttons_fit_the_state(state: State, wanted: list[str]) -> None:
    assert labels(replace(LINK, state=state)) == wanted


def test_what_works_for_ever_is_not_extended() -> None:
    assert "Extend" not in labels(replace(LINK, expires_at=None))


def test_telegram_refuses_buttons_to_hosts_without_a_public_name() -> None:
    assert "Open page" not in labels(LINK, "http://localhost:8080")


def test_downloads_are_counted() -> None:
    limited = replace(LINK, max_downloads=5, downloads=2)
    assert "2 of 5 downloads" in link_view(T, limited, BASE, is_public=True)[0]
    assert "3 downloads" in link_line(T, replace(LINK, downloads=3), 1)


@given(
    st.text(max_size=400),
    st.sampled_from(list(State)),
    st.none() | st.integers(0, 4_000_000_000_000),
    st.integers(0, 2**60),
)
def test_any_link_fits_into_a_message(name: str, state: State, expires_at: int | None, size: int) -> None:
    media = TelegramMedia({}, size, "")
    link = replace(LINK, name=name, state=state, expires_at=expires_at, media=media)
    for text, keyboard in (
        link_view(T, link, BASE, is_public=False),
        new_links(T, [link] * 10, BASE, is_public=False),
    ):
        plain, _ = telegram_html.parse(text)
        assert len(plain) <= 4096
        assert " ".join(name.split())[:20] in " ".join(plain.split())
        assert all(len(button.data.encode()) <= 64 for row in keyboard for button in row)


@pytest.mark.parametrize(
    ("table", "url"),
    [
        ({"public_url": "https://files.example.com/"}, "https://files.example.com"),
        ({"host": "127.0.0.1", "port": 8080}, "http://127.0.0.1:8080"),
        ({"host": "::1", "port": 80, "token": "t"}, "http://[::1]:80"),
    ],
)
def test_the_address_of_the_api(table: dict[str, object], url: str) -> None:
    assert api_url(ApiConfig.model_validate(table)) == url


def test_an_api_on_all_networks_has_the_address_of_this_machine() -> None:
    url = api_url(ApiConfig.model_validate({"host": "0.0.0.0", "port": 8080, "token": "t"}))
    assert url.startswith("http://")
    assert url.endswith(":8080")
    assert "0.0.0.0" not in url
