"""channels.getMessages, messages.get* and messages.search: reading messages."""

from collections.abc import Callable, Iterable
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.registry import Context, answers
from saveany.sandbox.world import Chat, Message

_MAX_MESSAGES = 100


@answers(fn.channels.GetMessagesRequest)
def get_channel_messages(context: Context, request: Any) -> Any:
    """Messages by id; an empty one where there is none."""
    chat = context.chat(request.channel)
    if not request.id:
        raise RpcFailure(400, "MESSAGE_IDS_EMPTY")
    wanted = [getattr(entry, "id", 0) for entry in request.id[:_MAX_MESSAGES]]
    found = [chat.messages.get(id_) for id_ in wanted]
    shown = [
        context.view.message(chat, message) if message else tl.MessageEmpty(id=id_, peer_id=None)
        for id_, message in zip(wanted, found, strict=True)
    ]
    return _channel_messages(context, chat, [m for m in found if m], shown, len(shown))


@answers(fn.messages.GetMessagesRequest)
def get_messages(context: Context, request: Any) -> Any:
    """Messages outside of channels: there are none."""
    empty = [tl.MessageEmpty(id=getattr(entry, "id", 0), peer_id=None) for entry in request.id]
    return tl.messages.Messages(messages=empty, topics=[], chats=[], users=[])


@answers(fn.messages.GetHistoryRequest, bots=False)
def get_history(context: Context, request: Any) -> Any:
    """A page of a chat's messages, newest first."""
    return _page(context, context.chat(request.peer), request, lambda message: True)


@answers(fn.messages.GetRepliesRequest, bots=False)
def get_replies(context: Context, request: Any) -> Any:
    """A page of a topic, or of the comments on a post."""
    chat, thread = _thread(context, context.chat(request.peer), request.msg_id)
    return _page(context, chat, request, lambda message: thread in message.threads)


@answers(fn.messages.SearchRequest, bots=False)
def search(context: Context, request: Any) -> Any:
    """A page of the messages with some text, with some kind of media, in some topic."""
    words, kind = request.q.lower(), _FILTERS.get(type(request.filter))
    if kind is None:
        raise RpcFailure(400, "INPUT_FILTER_INVALID")

    def fits(message: Message) -> bool:
        in_thread = not request.top_msg_id or request.top_msg_id in message.threads
        return in_thread and words in message.text.lower() and kind(message)

    return _page(context, context.chat(request.peer), request, fits)


@answers(fn.messages.GetDiscussionMessageRequest, bots=False)
def get_discussion_message(context: Context, request: Any) -> Any:
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


_FILTERS: dict[type, Callable[[Message], bool]] = {
    tl.InputMessagesFilterEmpty: lambda message: True,
    tl.InputMessagesFilterPhotos: lambda message: bool(message.file and message.file.pictures),
    tl.InputMessagesFilterDocument: lambda message: bool(message.file and not message.file.pictures),
}


def _thread(context: Context, chat: Chat, message: int) -> tuple[Chat, int]:
    """Where the replies to a message are: a post's are in the discussion group."""
    if message not in chat.messages:
        raise RpcFailure(400, "MSG_ID_INVALID")
    group = context.world.chats.get(chat.linked) if chat.broadcast and chat.linked else None
    root = group.comments(message) if group else None
    return (group, root.id) if group and root else (chat, message)


def _page(context: Context, chat: Chat, request: Any, fits: Callable[[Message], bool]) -> Any:
    every = [message for message in chat.newest_first() if fits(message)]
    chosen = page(every, request)
    shown = [context.view.message(chat, message) for message in chosen]
    return _channel_messages(context, chat, chosen, shown, len(every))


def page(newest_first: list[Message], request: Any) -> list[Message]:
    """What the offsets and limits of a request choose (https://core.telegram.org/api/offsets)."""
    start = _start(newest_first, request) + request.add_offset
    end = start + min(request.limit, _MAX_MESSAGES)
    window = newest_first[max(0, start) : max(0, end)]
    return [message for message in window if _between(message.id, request.min_id, request.max_id)]


def _start(newest_first: list[Message], request: Any) -> int:
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


def _channel_messages(
    context: Context, chat: Chat, messages: Iterable[Message], shown: list[Any], count: int
) -> Any:
    around = context.view.around(chat, messages)
    return tl.messages.ChannelMessages(pts=1, count=count, messages=shown, topics=[], **around)
