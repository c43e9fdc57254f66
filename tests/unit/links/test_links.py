"""Every form of a link to a Telegram message, and texts that only resemble one."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saveany.errors import InvalidInput
from saveany.telegram.links import (
    MAX_CHANNEL_ID,
    MAX_MESSAGE_ID,
    MAX_RANGE,
    MAX_USER_ID,
    MessageLink,
    looks_like,
    parse,
)

PUBLIC = MessageLink("channel", 123)
PRIVATE = MessageLink(1234567890, 5)

ACCEPTED = {
    "https://t.me/channel/123": PUBLIC,
    "http://t.me/channel/123": PUBLIC,
    "t.me/channel/123": PUBLIC,
    "www.t.me/channel/123": PUBLIC,
    "HTTPS://T.ME/channel/123": PUBLIC,
    "https://t.me:443/channel/123": PUBLIC,
    "https://telegram.me/channel/123": PUBLIC,
    "https://www.telegram.dog/channel/123": PUBLIC,
    "https://channel.t.me/123": PUBLIC,
    "channel.t.me/123": PUBLIC,
    "https://t.me/s/channel/123": PUBLIC,
    "https://t.me//channel/123/": PUBLIC,
    "https://t.me/channel/123/?utm_source=x#top": PUBLIC,
    "https://t.me/channel/0123": PUBLIC,
    "//t.me/channel/123": PUBLIC,
    "@t.me/channel/123": PUBLIC,
    "tg://resolve?domain=channel&post=123": PUBLIC,
    "tg:resolve?domain=channel&post=123": PUBLIC,
    "TG://RESOLVE/?post=123&domain=channel": PUBLIC,
    "<https://t.me/channel/123>": PUBLIC,
    "(https://t.me/channel/123).": PUBLIC,
    "**https://t.me/channel/123**": PUBLIC,
    "`https://t.me/channel/123`": PUBLIC,
    "[the file](https://t.me/channel/123)": PUBLIC,
    "[https://t.me/channel/123](https://t.me/channel/123)": PUBLIC,
    "see https://t.me/channel/123 please": PUBLIC,
    "看https://t.me/channel/123很好": PUBLIC,
    "https://t.me/channel/123。 ": PUBLIC,
    "\ufeffhttps://t.me/channel/123\u200b": PUBLIC,
    "https://t.me/channel/123 https://T.me/Channel/123": PUBLIC,
    "https://t.me/durov_4/1": MessageLink("durov_4", 1),
    "https://t.me/abcd/1": MessageLink("abcd", 1),
    f"https://t.me/channel/{MAX_MESSAGE_ID}": MessageLink("channel", MAX_MESSAGE_ID),
    "https://t.me/channel/7/123": MessageLink("channel", 123, topic=7),
    "https://channel.t.me/7/123": MessageLink("channel", 123, topic=7),
    "https://t.me/channel/123?thread=7": MessageLink("channel", 123, thread=7),
    "https://t.me/channel/123?single": MessageLink("channel", 123, single=True),
    "https://t.me/channel/123?single=": MessageLink("channel", 123, single=True),
    "https://t.me/channel/123?single=1&x": MessageLink("channel", 123, single=True),
    "https://t.me/channel/123?comment=9": MessageLink("channel", 123, comment=9),
    "https://t.me/channel/123?COMMENT=9&comment=8": MessageLink("channel", 123, comment=9),
    "https://t.me/channel/123?single很": MessageLink("channel", 123, single=True),
    "https://t.me/channel/123?t=90": MessageLink("channel", 123, timestamp=90),
    "https://t.me/channel/123?t=1m30s": MessageLink("channel", 123, timestamp=90),
    "https://t.me/channel/123?t=1m30": MessageLink("channel", 123, timestamp=90),
    "https://t.me/channel/123?t=1h2m3s": MessageLink("channel", 123, timestamp=3723),
    "https://t.me/channel/123?t=1:30": MessageLink("channel", 123, timestamp=90),
    "https://t.me/channel/123?t=1:02:03": MessageLink("channel", 123, timestamp=3723),
    "https://t.me/channel/123?t=soon": PUBLIC,
    "https://t.me/channel/123?t=0": PUBLIC,
    "https://t.me/channel/123?t=999999h": PUBLIC,
    "https://t.me/c/1234567890/5": PRIVATE,
    "t.me/c/1234567890/5/": PRIVATE,
    "https://t.me/c/-1001234567890/5": PRIVATE,
    "https://t.me/c/1234567890/7/5": MessageLink(1234567890, 5, topic=7),
    "https://t.me/c/1234567890/5?thread=7&single": MessageLink(1234567890, 5, thread=7, single=True),
    "tg://privatepost?channel=1234567890&post=5": PRIVATE,
    "tg://privatepost?channel=1234567890&post=5&thread=7&comment=9&single": MessageLink(
        1234567890, 5, thread=7, comment=9, single=True
    ),
    "tg://resolve?domain=channel&post=123&thread=7&t=3&single": MessageLink(
        "channel", 123, thread=7, single=True, timestamp=3
    ),
}

#: Telegram links that lead to no message: the text and a word of the reason.
REFUSED = {
    "https://t.me/+AbCdEf123": "invite",
    "https://t.me/joinchat/AbCdEf123": "invite",
    "https://t.me/JoinChat/5": "invite",
    "tg://join?invite=AbCdEf123": "invite",
    "https://t.me/boost/channel": "boost",
    "https://t.me/channel?boost": "no message",
    "https://t.me/c/1234567890?boost": "no message",
    "https://t.me/addstickers/Animals": "sticker",
    "https://t.me/addemoji/Animals": "emoji",
    "https://t.me/proxy?server=1.2.3.4&port=1&secret=x": "proxy",
    "tg://socks?server=1.2.3.4": "proxy",
    "https://t.me/share/url?url=https://t.me/channel/123": "share",
    "tg://msg_url?url=x": "share",
    "tg://settings": "tg://resolve",
    "https://t.me": "no chat",
    "https://t.me/?single": "no chat",
    "https://t.me/s": "no chat",
    "https://t.me/channel": "no message",
    "https://t.me/s/channel": "no message",
    "https://t.me/channel/": "no message",
    "tg://resolve?domain=channel": "no message",
    "tg://privatepost?channel=12": "no message",
    "https://t.me/c/12": "no message",
    "https://t.me/channel/0": "message id",
    "https://t.me/channel/-5": "message id",
    "https://t.me/channel/2147483648": "message id",
    "https://t.me/channel/" + "9" * 5000: "message id",
    "https://t.me/channel/\uff11\uff12": "no message",
    "https://t.me/channel/12a": "message id",
    "https://t.me/channel/a/12": "topic id",
    "https://t.me/channel/0/12": "topic id",
    "https://t.me/channel/1/2/3": "too many",
    "https://t.me/channel/12?comment=0": "comment id",
    "https://t.me/channel/12?comment=x": "comment id",
    "https://t.me/channel/12?thread=": "thread id",
    "https://t.me/123/12": "username",
    "https://t.me/abc/12": "username",
    "https://t.me/" + "a" * 33 + "/12": "username",
    "https://t.me/na-me/12": "username",
    "https://t.me/$abc/12": "username",
    "https://t.me/name%2F12/5": "username",
    "https://s.t.me/channel/12": "username",
    "https://c.t.me/123/12": "username",
    "https://xn--80ak6aa92e.t.me/12": "username",
    "tg://resolve?post=12": "username",
    "https://t.me/c/abc/12": "channel id",
    "https://t.me/c/0/12": "channel id",
    "https://t.me/c/": "channel id",
    "https://t.me/c/-1001234/5": "channel id",
    "https://t.me/c/-1000000000000/5": "channel id",
    "https://t.me/c/-1001234567890x/5": "channel id",
    f"https://t.me/c/{MAX_CHANNEL_ID + 1}/5": "channel id",
    "https://t.me/c/1001234567890/5": "channel id",
    "https://t.me/channel/1 https://t.me/channel/2": "several",
}

FOREIGN = [
    "",
    "   ",
    "channel/123",
    "123",
    "@channel",
    "https://example.org/channel/123",
    "https://t.me.evil.com/channel/123",
    "https://evil.com/t.me/channel/123",
    "https://evil.com/?u=https://t.me/channel/123",
    "https://evil-t.me/channel/123",
    "https://nott.me/channel/123",
    "https://t.me@evil.com/channel/123",
    "https://t.me:80@evil.com/channel/123",
    "https://t.me\\@evil.com/channel/123",
    "https://user:secret@t.me/channel/123",
    "https://t.me:8080/channel/123",
    "https://t.m\u0435/channel/123",
    "тt.me/channel/123",
    "https://тt.me/channel/123",
    "https://exämple.t.me/5",
    "https://t。me/channel/123",
    "http\u017f://t.me/channel/123",
    "https://xn--t-7sb.me/channel/123",
    "https://a.b.t.me/5",
    "https://telegram.org/channel/123",
    "https://web.telegram.org/k/#-1234567890",
    "ftp://t.me/channel/123",
    "javascript:https://t.me/channel/123",
    "tgx://resolve?domain=channel&post=1",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_every_form_of_a_link_is_parsed(text: str) -> None:
    assert parse(text) == ACCEPTED[text]
    assert looks_like(text)


@pytest.mark.parametrize("text", REFUSED)
def test_other_telegram_links_are_refused_with_the_reason(text: str) -> None:
    assert looks_like(text)
    with pytest.raises(InvalidInput, match=REFUSED[text]) as caught:
        parse(text)
    assert caught.value.field == "links"
    assert "https://t.me/channel/123" in caught.value.message


@pytest.mark.parametrize("text", FOREIGN)
def test_other_and_disguised_hosts_are_refused(text: str) -> None:
    assert not looks_like(text)
    with pytest.raises(InvalidInput, match="not a Telegram link"):
        parse(text)


def test_invite_hash_is_not_repeated_in_the_error() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse("https://t.me/+SecretHash")
    assert "SecretHash" not in caught.value.message


def test_username_case_is_kept_but_ignored_in_comparisons() -> None:
    link = parse("https://t.me/SomeChannel/5")
    assert link.chat == "SomeChannel"
    assert link == parse("https://t.me/somechannel/5")
    assert len({link, parse("https://t.me/SOMECHANNEL/5")}) == 1
    assert link != parse("https://t.me/SomeChannel/6")
    assert link != link.url


def test_canonical_url_carries_every_option() -> None:
    link = MessageLink(12, 5, topic=3, comment=9, single=True, thread=4, timestamp=90)
    assert link.url == "https://t.me/c/12/3/5?single&thread=4&comment=9&t=90"


RANGES = {
    "https://t.me/channel/100-200": MessageLink("channel", 100, last=200),
    "https://t.me/channel/200-100": MessageLink("channel", 100, last=200),
    "https://t.me/channel/7/100-200?single": MessageLink("channel", 100, last=200, topic=7),
    "https://t.me/channel/100-200?thread=7": MessageLink("channel", 100, last=200, thread=7),
    "https://t.me/c/1234567890/1-10000": MessageLink(1234567890, 1, last=10_000),
    "https://t.me/c/-1001234567890/1-2": MessageLink(1234567890, 1, last=2),
    "tg://resolve?domain=channel&post=1-2": MessageLink("channel", 1, last=2),
    "https://t.me/channel/5-5": MessageLink("channel", 5, single=True),
}


@pytest.mark.parametrize("text", RANGES)
def test_a_range_of_messages_is_parsed(text: str) -> None:
    assert exact(parse(text)) == exact(RANGES[text])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("https://t.me/channel/1-10001", "more than 10,000 messages"),
        ("https://t.me/channel/0-5", "is not a number from 1"),
        ("https://t.me/channel/1-99999999999", "is not a number from 1"),
        ("https://t.me/channel/1-2?comment=3", "A range cannot consist of comments"),
        ("https://t.me/channel/1-2-3", "is not a number from 1"),
    ],
)
def test_invalid_ranges_are_refused(text: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        parse(text)


@given(
    st.integers(1, MAX_MESSAGE_ID - MAX_RANGE), st.integers(1, MAX_RANGE - 1), st.none() | st.integers(1, 99)
)
def test_a_range_has_a_canonical_form(first: int, more: int, topic: int | None) -> None:
    link = MessageLink("channel", first, last=first + more, topic=topic)
    assert exact(parse(link.url)) == exact(link)


TALKS = {
    "tg://openmessage?user_id=123&message_id=5": MessageLink(123, 5, bot_chat="user"),
    "tg:openmessage?message_id=5&user_id=123": MessageLink(123, 5, bot_chat="user"),
    "TG://OpenMessage?chat_id=9&message_id=5&single": MessageLink(9, 5, bot_chat="chat", single=True),
    f"tg://openmessage?user_id={MAX_USER_ID}&message_id=5": MessageLink(MAX_USER_ID, 5, bot_chat="user"),
}


@pytest.mark.parametrize("text", TALKS)
def test_a_link_to_a_message_of_a_private_chat_is_parsed(text: str) -> None:
    assert exact(parse(text)) == exact(TALKS[text])


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("user_id=1", "message id in this link is not a number"),
        ("message_id=1", "names no chat"),
        ("user_id=0&message_id=1", "names no chat"),
        ("user_id=-5&message_id=1", "names no chat"),
        (f"user_id={MAX_USER_ID + 1}&message_id=1", "names no chat"),
        ("user_id=1&message_id=0", "message id in this link is not a number"),
    ],
)
def test_invalid_private_chat_links_are_refused(query: str, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        parse(f"tg://openmessage?{query}")


def test_a_private_chat_link_names_its_user() -> None:
    assert MessageLink(123, 5, bot_chat="user").bot_chat_id == 123
    assert MessageLink(123, 5, bot_chat="chat").bot_chat_id == -123
    assert PRIVATE.bot_chat_id == PUBLIC.bot_chat_id == 0
    assert (
        len({MessageLink(5, 5), MessageLink(5, 5, bot_chat="user"), MessageLink(5, 5, bot_chat="chat")}) == 3
    )


messages = st.integers(1, MAX_MESSAGE_ID)
talks = st.builds(
    MessageLink,
    chat=st.integers(1, MAX_USER_ID),
    message=messages,
    single=st.booleans(),
    bot_chat=st.sampled_from(["user", "chat"]),
)
# Digits in the name keep it apart from Telegram's reserved words.
usernames = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{2,29}[0-9]{1,2}", fullmatch=True)
links = st.builds(
    MessageLink,
    chat=usernames | st.integers(1, MAX_CHANNEL_ID),
    message=messages,
    topic=st.none() | messages,
    comment=st.none() | messages,
    single=st.booleans(),
    thread=st.none() | messages,
    timestamp=st.none() | messages,
)


def exact(link: MessageLink) -> tuple[object, ...]:
    return dataclasses.astuple(link)


@given(links | talks)
def test_parsing_the_canonical_form_gives_the_link(link: MessageLink) -> None:
    assert exact(parse(link.url)) == exact(link)


scheme = st.sampled_from(["https://", "http://", "HTTPS://", ""])
host = st.sampled_from(["t.me", "T.ME", "telegram.me", "telegram.dog", "www.t.me", "t.me:443"])
before = st.sampled_from(["", " ", "<", "(", "**", "_", '"', "«", "\ufeff", "[a file](", "here: "])
after = st.sampled_from(
    ["", " ", "\n", ">", ")", ").", "**", "_", '"', "»", "!", "。", "\u200b", "… and", ")\n"]
)


@given(
    link=links, scheme=scheme, host=host, before=before, after=after, slash=st.booleans(), junk=st.booleans()
)
def test_surrounding_text_and_unknown_parameters_are_ignored(
    link: MessageLink, scheme: str, host: str, before: str, after: str, slash: bool, junk: bool
) -> None:
    path, _, query = link.url.removeprefix("https://t.me/").partition("?")
    query = "&".join(filter(None, ["utm_source=x" if junk else "", query]))
    text = f"{before}{scheme}{host}/{path}{'/' * slash}{'?' * bool(query)}{query}{'#frag' * junk}{after}"
    assert exact(parse(text)) == exact(link)


@given(link=links.filter(lambda link: link.topic is None))
def test_app_links_are_equivalent_to_web_links(link: MessageLink) -> None:
    chat = f"privatepost?channel={link.chat}" if isinstance(link.chat, int) else f"resolve?domain={link.chat}"
    query = link.url.partition("?")[2]
    assert exact(parse(f"tg://{chat}&post={link.message}&{query}")) == exact(link)


@given(link=links.filter(lambda link: isinstance(link.chat, str)), host=host.filter(lambda h: "www" not in h))
def test_username_may_be_the_subdomain(link: MessageLink, host: str) -> None:
    rest = link.url.removeprefix(f"https://t.me/{link.chat}/")
    assert exact(parse(f"https://{link.chat}.{host}/{rest}")) == exact(link)


FRAGMENTS = """https:// http:// t.me telegram.me tg: // resolve ? & = / c s + -100 12 channel
    openmessage user_id= chat_id= message_id= post= domain= single t= 1h : # @ ]( % \u0663 \u017f"""
pieces = st.lists(st.sampled_from([*FRAGMENTS.split(), " "]), max_size=12).map("".join)


@given(st.text() | pieces)
def test_any_text_is_a_link_or_invalid_input(text: str) -> None:
    try:
        link = parse(text)
    except InvalidInput:
        return
    assert exact(parse(link.url)) == exact(link)
    assert looks_like(text)
