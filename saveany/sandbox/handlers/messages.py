"""channels.getMessages, messages.get* and messages.search: reading messages."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.registry import RequestContext, answers
from saveany.sandbox.world import Chat, StoredMessage

_MAX_MESSAGES = 100

_URLS = (tl.MessageEntityUrl, tl.MessageEntityTextUrl)
_Get = Callable[[int], StoredMessage | None]


@answers(fn.channels.GetMessagesRequest)
def get_channel_messages(context: RequestContext, request: Any) -> Any:
    """Messages by id; an empty one where there is none."""
    chat = context.chat(request.channel)
    if not request.id:
        raise RpcFailure(400, "MESSAGE_IDS_EMPTY")
    found = _chosen(chat.messages.get, request.id)
    shown = [_shown(context, chat, id_, message) for id_, message in found]
    return _messages(context, chat, [message for _, message in found if message], shown, len(shown))


@answers(fn.messages.GetMessagesRequest)
def get_messages(context: RequestContext, request: Any) -> Any:
    """Messages outside of channels."""
    talks = {id_: chat for chat in context.world.private_chats.held(context.account) for id_ in chat.messages}

    def get(id_: int) -> StoredMessage | None:
        return talks[id_].messages[id_] if id_ in talks else None

    found = _chosen(get, request.id)
    shown = [_shown(context, talks.get(id_), id_, message) for id_, message in found]
    around = context.view.around_all((talks[id_], [message]) for id_, message in found if message)
    return tl.messages.Messages(messages=shown, topics=[], **around)


@answers(fn.messages.GetHistoryRequest, bots=False)
def get_history(context: RequestContext, request: Any) -> Any:
    """A page of a chat's messages, newest first."""
    return _page(context, context.peer(request.peer), request, lambda message: True)


@answers(fn.messages.GetRepliesRequest, bots=False)
def get_replies(context: RequestContext, request: Any) -> Any:
    """A page of a topic, or of the comments on a post."""
    chat, thread = _thread(context, context.chat(request.peer), request.msg_id)
    return _page(context, chat, request, lambda message: thread in message.threads)


@answers(fn.messages.SearchRequest, bots=False)
def search(context: RequestContext, request: Any) -> Any:
    """A page of the messages with some text, with some kind of media, in some topic."""
    words, kind = request.q.lower(), _FILTERS.get(type(request.filter))
    if kind is None:
        raise RpcFailure(400, "INPUT_FILTER_INVALID")

    def fits(message: StoredMessage) -> bool:
        in_thread = not request.top_msg_id or request.top_msg_id in message.threads
        return in_thread and words in message.text.lower() and kind(message)

    return _page(context, context.peer(request.peer), request, fits)


@answers(fn.messages.GetDiscussionMessageRequest, bots=False)
def get_discussion_message(context: RequestContext, request: Any) -> Any:
    """The message of the discussion group under which the comments on a post are."""
    channel = context.chat(request.peer)
    group, thread = _thread(context, channel, request.msg_id)
    if group is channel:
        raise RpcFailure(400, "MSG_ID_INVALID")
    root = group.messages[thread]
    return tl.messages.DiscussionMessage(
        messages=[context.view.message(group, root)],
        max_id=max((m.id for m in group.messages.values() if thread in m.threads), default=thread),
        unread_count=0,
        **context.view.around(group, [root]),
    )


def _has(attribute: type) -> Callable[[StoredMessage], bool]:
    return lambda message: bool(
        message.file and any(isinstance(a, attribute) for a in message.file.attributes)
    )


_FILTERS: dict[type, Callable[[StoredMessage], bool]] = {
    tl.InputMessagesFilterEmpty: lambda message: True,
    tl.InputMessagesFilterPhotos: lambda message: bool(message.file and message.file.pictures),
    tl.InputMessagesFilterDocument: lambda message: bool(message.file and not message.file.pictures),
    tl.InputMessagesFilterVideo: _has(tl.DocumentAttributeVideo),
    tl.InputMessagesFilterMusic: _has(tl.DocumentAttributeAudio),
    tl.InputMessagesFilterUrl: lambda message: any(isinstance(e, _URLS) for e in message.entities),
}


def _chosen(get: _Get, entries: Sequence[Any]) -> list[tuple[int, StoredMessage | None]]:
    """Ids and messages that `inputMessage`s name: by id, or as what another message answers."""
    ids = []
    for entry in entries[:_MAX_MESSAGES]:
        named = get(getattr(entry, "id", 0))
        answered = isinstance(entry, tl.InputMessageReplyTo)
        ids.append(
            (named.reply_to or named.thread or 0 if named else 0) if answered else getattr(entry, "id", 0)
        )
    return [(id_, get(id_)) for id_ in ids]


def _shown(context: RequestContext, chat: Chat | None, id_: int, message: StoredMessage | None) -> Any:
    if chat is None or message is None:
        return tl.MessageEmpty(id=id_, peer_id=None)
    return context.view.message(chat, message)


def _thread(context: RequestContext, chat: Chat, message: int) -> tuple[Chat, int]:
    """Where the replies to a message are: a post's are in the discussion group."""
    if message not in chat.messages:
        raise RpcFailure(400, "MSG_ID_INVALID")
    group = context.world.chats.get(chat.linked) if chat.broadcast and chat.linked else None
    root = group.comments(message) if group else None
    return (group, root.id) if group and root else (chat, message)


def _page(context: RequestContext, chat: Chat, request: Any, fits: Callable[[StoredMessage], bool]) -> Any:
    every = [message for message in chat.newest_first() if fits(message)]
    chosen = page(every, request)
    shown = [context.view.message(chat, message) for message in chosen]
    return _messages(context, chat, chosen, shown, len(every))


def page(newest_first: list[StoredMessage], request: Any) -> list[StoredMessage]:
    """What the offsets and limits of a request choose (https://core.telegram.org/api/offsets)."""
    start = _start(newest_first, request) + request.add_offset
    end = start + min(request.limit, _MAX_MESSAGES)
    window = newest_first[max(0, start) : max(0, end)]
    return [message for message in window if _between(message.id, request.min_id, request.max_id)]


def _start(newest_first: list[StoredMessage], request: Any) -> int:
    """Index of the first message older than the offset: the id, or else the date."""
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
    found: dict[str, Any] = {"messages": shown, "topics": [], **context.view.around(chat, messages)}
    if not chat.private:
        return tl.messages.ChannelMessages(pts=chat.box.pts, count=count, **found)
    if len(shown) == count:
        return tl.messages.Messages(**found)
    return tl.messages.MessagesSlice(count=count, **found)
