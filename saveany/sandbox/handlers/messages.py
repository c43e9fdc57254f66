"""channels.getMessages, messages.get* and messages.search: reading messages."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import wrappings
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.registry import RequestContext, handles
from saveany.sandbox.world import Chat, StoredMessage, Wrapping

_MAX_MESSAGES = 100

_URLS = (tl.MessageEntityUrl, tl.MessageEntityTextUrl)
_Get = Callable[[int], StoredMessage | None]


@handles(fn.channels.GetMessagesRequest)
def get_channel_messages(context: RequestContext, request: Any) -> Any:
    """Messages by id; an empty message in place of a missing one."""
    chat = context.chat(request.channel)
    if not request.id:
        raise RpcFailure(400, "MESSAGE_IDS_EMPTY")
    found = _selected(chat.messages.get, request.id)
    shown = [_shown(context, chat, id_, message) for id_, message in found]
    return _messages(context, chat, [message for _, message in found if message], shown, len(shown))


@handles(fn.messages.GetMessagesRequest)
def get_messages(context: RequestContext, request: Any) -> Any:
    """Messages outside of channels."""
    chats = {
        id_: chat for chat in context.world.private_chats.non_empty(context.account) for id_ in chat.messages
    }

    def get(id_: int) -> StoredMessage | None:
        return chats[id_].messages[id_] if id_ in chats else None

    found = _selected(get, request.id)
    shown = [_shown(context, chats.get(id_), id_, message) for id_, message in found]
    peers = context.view.peers_of_all((chats[id_], [message]) for id_, message in found if message)
    return tl.messages.Messages(messages=shown, topics=[], **peers)


@handles(fn.messages.GetRichMessageRequest)
def get_rich_message(context: RequestContext, request: Any) -> Any:
    """A message with its whole rich text."""
    chat = context.peer(request.peer)
    message = chat.messages.get(request.id)
    if message is None or message.wrapped is None:
        raise RpcFailure(400, "MSG_ID_INVALID")
    shown = context.view.message(chat, message)
    shown.rich_message = wrappings.rich_text(context.view, message.wrapped, whole=True)
    return _messages(context, chat, [message], [shown], 1)


@handles(fn.messages.GetWebPageRequest, bots=False)
def get_web_page(context: RequestContext, request: Any) -> Any:
    """A linked page with its whole instant view."""
    files = wrappings.files_of_page(context.world, request.url)
    if not files:
        raise RpcFailure(400, "WC_CONVERT_URL_INVALID")
    wrapping = Wrapping(how="long instant view", files=files)
    return tl.messages.WebPage(wrappings.web_page(context.view, wrapping, whole=True), [], [])


@handles(fn.messages.GetHistoryRequest, bots=False)
def get_history(context: RequestContext, request: Any) -> Any:
    """A page of a chat's messages, newest first."""
    chat = context.peer(request.peer)
    chosen = _history_page(chat, request)
    shown = [context.view.message(chat, message) for message in chosen]
    return _messages(context, chat, chosen, shown, len(chat.messages))


def _history_page(chat: Chat, request: Any) -> list[StoredMessage]:
    """The page that `page` selects from all messages, found by bisection: chats may be long."""
    ids = chat.sorted_ids()
    date = request.offset_date
    if request.offset_id:
        end = bisect_left(ids, request.offset_id)
    elif date is not None and date.timestamp() > 0:
        end = bisect_left(ids, date, key=lambda id_: chat.messages[id_].date)
    else:
        end = len(ids)
    end -= request.add_offset
    start = end - min(request.limit, _MAX_MESSAGES)
    window = reversed(ids[max(0, start) : max(0, end)])
    shown = [id_ for id_ in window if _between(id_, request.min_id, request.max_id)]
    return [chat.messages[id_] for id_ in shown if id_ not in chat.withheld]


@handles(fn.messages.GetRepliesRequest, bots=False)
def get_replies(context: RequestContext, request: Any) -> Any:
    """A page of a topic, or of the comments on a post."""
    chat, thread = _thread(context, context.chat(request.peer), request.msg_id)
    return _page(context, chat, request, lambda message: thread in message.threads)


@handles(fn.messages.SearchRequest, bots=False)
def search(context: RequestContext, request: Any) -> Any:
    """A page of the messages that match a text, a kind of media and a topic."""
    words, kind = request.q.lower(), _FILTERS.get(type(request.filter))
    if kind is None:
        raise RpcFailure(400, "INPUT_FILTER_INVALID")

    def matches(message: StoredMessage) -> bool:
        in_thread = not request.top_msg_id or request.top_msg_id in message.threads
        return in_thread and words in message.text.lower() and kind(message)

    return _page(context, context.peer(request.peer), request, matches)


@handles(fn.messages.GetSearchCountersRequest, bots=False)
def get_search_counters(context: RequestContext, request: Any) -> Any:
    """The number of messages that match each of some filters."""
    chat = context.peer(request.peer)
    if any(type(each) not in _FILTERS for each in request.filters):
        raise RpcFailure(400, "INPUT_FILTER_INVALID")
    return [
        tl.messages.SearchCounter(each, sum(map(_FILTERS[type(each)], chat.messages.values())))
        for each in request.filters
    ]


@handles(fn.messages.GetDiscussionMessageRequest, bots=False)
def get_discussion_message(context: RequestContext, request: Any) -> Any:
    """The message in the discussion group whose thread contains the comments on a post."""
    channel = context.chat(request.peer)
    group, thread = _thread(context, channel, request.msg_id)
    if group is channel:
        raise RpcFailure(400, "MSG_ID_INVALID")
    root = group.messages[thread]
    return tl.messages.DiscussionMessage(
        messages=[context.view.message(group, root)],
        max_id=max((m.id for m in group.messages.values() if thread in m.threads), default=thread),
        unread_count=0,
        **context.view.peers_of(group, [root]),
    )


def _has(attribute: type) -> Callable[[StoredMessage], bool]:
    return lambda message: bool(
        message.file and any(isinstance(a, attribute) for a in message.file.attributes)
    )


def _is_kind(attribute: type, flag: str) -> Callable[[StoredMessage], bool]:
    return lambda message: bool(
        message.file
        and any(isinstance(a, attribute) and getattr(a, flag, False) for a in message.file.attributes)
    )


_FILTERS: dict[type, Callable[[StoredMessage], bool]] = {
    tl.InputMessagesFilterEmpty: lambda message: True,
    tl.InputMessagesFilterPhotos: lambda message: bool(message.file and message.file.pictures),
    tl.InputMessagesFilterChatPhotos: lambda message: bool(
        message.wrapped and message.wrapped.how == "chat photo"
    ),
    tl.InputMessagesFilterDocument: lambda message: bool(message.file and not message.file.pictures),
    tl.InputMessagesFilterVideo: _has(tl.DocumentAttributeVideo),
    tl.InputMessagesFilterMusic: _has(tl.DocumentAttributeAudio),
    tl.InputMessagesFilterVoice: _is_kind(tl.DocumentAttributeAudio, "voice"),
    tl.InputMessagesFilterRoundVideo: _is_kind(tl.DocumentAttributeVideo, "round_message"),
    tl.InputMessagesFilterGif: _has(tl.DocumentAttributeAnimated),
    tl.InputMessagesFilterUrl: lambda message: any(isinstance(e, _URLS) for e in message.entities),
}


def _selected(get: _Get, entries: Sequence[Any]) -> list[tuple[int, StoredMessage | None]]:
    """Ids and messages named by `inputMessage`s: by id, or as the message that another one replies to."""
    ids = []
    for entry in entries[:_MAX_MESSAGES]:
        named = get(getattr(entry, "id", 0))
        by_reply = isinstance(entry, tl.InputMessageReplyTo)
        ids.append(
            (named.reply_to or named.thread or 0 if named else 0) if by_reply else getattr(entry, "id", 0)
        )
    return [(id_, get(id_)) for id_ in ids]


def _shown(context: RequestContext, chat: Chat | None, id_: int, message: StoredMessage | None) -> Any:
    if chat is None or message is None:
        return tl.MessageEmpty(id=id_, peer_id=None)
    return context.view.message(chat, message)


def _thread(context: RequestContext, chat: Chat, message: int) -> tuple[Chat, int]:
    """The chat and thread of the replies to a message; those to a post are in the discussion group."""
    if message not in chat.messages:
        raise RpcFailure(400, "MSG_ID_INVALID")
    group = context.world.chats.get(chat.linked) if chat.broadcast and chat.linked else None
    root = group.comments(message) if group else None
    return (group, root.id) if group and root else (chat, message)


def _page(context: RequestContext, chat: Chat, request: Any, matches: Callable[[StoredMessage], bool]) -> Any:
    every = [message for message in chat.newest_first() if matches(message)]
    chosen = page(every, request)
    shown = [context.view.message(chat, message) for message in chosen]
    return _messages(context, chat, chosen, shown, len(every))


def page(newest_first: list[StoredMessage], request: Any) -> list[StoredMessage]:
    """The page selected by the offsets and limits of a request (https://core.telegram.org/api/offsets)."""
    start = _start(newest_first, request) + request.add_offset
    end = start + min(request.limit, _MAX_MESSAGES)
    window = newest_first[max(0, start) : max(0, end)]
    return [message for message in window if _between(message.id, request.min_id, request.max_id)]


def _start(newest_first: list[StoredMessage], request: Any) -> int:
    """Index of the first message that is older than the offset: the offset id, or else the date."""
    date = getattr(request, "offset_date", None)
    if request.offset_id:
        older = [message.id < request.offset_id for message in newest_first]
    elif date is not None and date.timestamp() > 0:
        older = [message.date < date for message in newest_first]
    else:
        return 0
    return older.index(True) if True in older else len(older)


def _between(id_: int, low: int, high: int) -> bool:
    return id_ > low and (not high or id_ < high)


def _messages(
    context: RequestContext, chat: Chat, messages: Iterable[StoredMessage], shown: list[Any], count: int
) -> Any:
    found: dict[str, Any] = {"messages": shown, "topics": [], **context.view.peers_of(chat, messages)}
    if not chat.private:
        return tl.messages.ChannelMessages(pts=chat.box.pts, count=count, **found)
    if len(shown) == count:
        return tl.messages.Messages(**found)
    return tl.messages.MessagesSlice(count=count, **found)
