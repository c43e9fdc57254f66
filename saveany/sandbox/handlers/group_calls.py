"""phone.*: group calls and their streams (https://core.telegram.org/api/group-calls)."""

import json
import struct
from datetime import UTC, datetime
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox import access
from saveany.sandbox.content import FileContent
from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.group_calls import UNIFIED_CHANNEL, CallRecording, GroupCall, LiveStream
from saveany.sandbox.handlers.registry import RequestContext, handles
from saveany.sandbox.view import peer_of

_VECTOR_ID = 0x1CB5C415


@handles(fn.phone.GetGroupCallRequest, bots=False)
def get_group_call(context: RequestContext, request: Any) -> Any:
    """A call; after its end a `groupCallDiscarded`."""
    call = _find(context, request.call)
    peers = context.view.peers_of(call.chat, [])
    return tl.phone.GroupCall(context.view.group_call(call), [], participants_next_offset="", **peers)


@handles(fn.phone.JoinGroupCallRequest, bots=False)
def join_group_call(context: RequestContext, request: Any) -> Any:
    """Join a call. Viewers of a stream have to be muted, and without video."""
    call = _find_running(context, request.call)
    if context.user(request.join_as) is not context.account:
        raise RpcFailure(400, "JOIN_AS_PEER_INVALID")
    source = _source(request.params.data)
    if any(source == other for account, other in call.joined.items() if account != context.account.id):
        raise RpcFailure(400, "GROUPCALL_SSRC_DUPLICATE_MUCH")
    if call.stream and not (request.muted and request.video_stopped):
        raise RpcFailure(400, "CHAT_ADMIN_REQUIRED")
    call.joined[context.account.id] = source
    connection = {"stream": True, "rtmp": True} if call.stream else {}
    return _updates(context, call, tl.UpdateGroupCallConnection(tl.DataJSON(json.dumps(connection))))


@handles(fn.phone.LeaveGroupCallRequest, bots=False)
def leave_group_call(context: RequestContext, request: Any) -> Any:
    """Leave a call."""
    call = _find_joined(context, request.call)
    del call.joined[context.account.id]
    return _updates(context, call)


@handles(fn.phone.CheckGroupCallRequest, bots=False)
def check_group_call(context: RequestContext, request: Any) -> Any:
    """Those of the given sources that are in the call."""
    call = _find_joined(context, request.call)
    present = [source for source in request.sources if source in call.joined.values()]
    return struct.pack(f"<Ii{len(present)}i", _VECTOR_ID, len(present), *present)


@handles(fn.phone.GetGroupCallStreamChannelsRequest, bots=False)
def get_stream_channels(context: RequestContext, request: Any) -> Any:
    """The channels of a stream with the time of their newest part; none before the stream begins."""
    stream = _stream(context, request.call)
    last = stream.last_ms
    channels = [] if last is None else [tl.GroupCallStreamChannel(UNIFIED_CHANNEL, 0, last)]
    return tl.phone.GroupCallStreamChannels(channels)


@handles(fn.phone.ToggleGroupCallRecordRequest, bots=False)
def toggle_record(context: RequestContext, request: Any) -> Any:
    """Start or end a recording by Telegram, as an administrator."""
    call = _find_running(context, request.call)
    if not call.chat.is_administered_by(context.account.id):
        raise RpcFailure(400, "CHAT_ADMIN_REQUIRED")
    if bool(request.start) == bool(call.recording):
        raise RpcFailure(400, "GROUPCALL_NOT_MODIFIED")
    if request.start:
        now = datetime.now(UTC)
        call.recording = CallRecording(context.account, request.title or "", bool(request.video), now)
        context.world.calls.changed(call)
    else:
        context.world.calls.stop_recording(call)
    return _updates(context, call)


def stream_part(context: RequestContext, location: Any) -> FileContent:
    """The part of a stream that an `inputGroupCallStream` names."""
    stream = _stream(context, location.call)
    if location.video_channel != UNIFIED_CHANNEL or location.video_quality not in (0, 1, 2):
        raise RpcFailure(400, "VIDEO_CHANNEL_INVALID")
    if location.scale != 0:
        raise RpcFailure(400, "SCALE_INVALID")
    return stream.part(location.time_ms)


def _find(context: RequestContext, named: Any) -> GroupCall:
    call = context.world.calls.get(named.id)
    if call is None or named.access_hash != access.access_hash(context.account, call.id):
        raise RpcFailure(400, "GROUPCALL_INVALID")
    if context.account.id not in call.chat.members and not call.chat.username:
        raise RpcFailure(400, "GROUPCALL_INVALID")
    return call


def _find_running(context: RequestContext, named: Any) -> GroupCall:
    call = _find(context, named)
    if call.ended:
        raise RpcFailure(403, "GROUPCALL_FORBIDDEN")
    return call


def _find_joined(context: RequestContext, named: Any) -> GroupCall:
    call = _find_running(context, named)
    if context.account.id not in call.joined:
        raise RpcFailure(400, "GROUPCALL_JOIN_MISSING")
    return call


def _stream(context: RequestContext, named: Any) -> LiveStream:
    """The stream of a call that the account has joined; it is at one data center only."""
    stream = _find_joined(context, named).stream
    if stream is None:
        raise RpcFailure(400, "GROUPCALL_INVALID")
    if stream.dc != context.dc:
        raise RpcFailure(303, f"FILE_MIGRATE_{stream.dc}")
    return stream


def _source(params: str) -> int:
    """The WebRTC source in the parameters of a client."""
    try:
        source = json.loads(params)["ssrc"]
    except (ValueError, TypeError, KeyError):
        source = None
    if not isinstance(source, int):
        raise RpcFailure(400, "DATA_JSON_INVALID")
    return source


def _updates(context: RequestContext, call: GroupCall, *extra: Any) -> Any:
    """TL `updates` with the call, for the account that has changed it."""
    changed = tl.UpdateGroupCall(context.view.group_call(call), peer=peer_of(call.chat))
    return context.updates(changed, *extra)
