"""help.*"""

from datetime import UTC, datetime, timedelta
from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.handlers.registry import RequestContext, handles

#: Required numbers that clients for files do not use; all have the same value.
_LIMITS = (
    "chat_size_max",
    "megagroup_size_max",
    "forwarded_count_max",
    "online_update_period_ms",
    "offline_blur_timeout_ms",
    "offline_idle_timeout_ms",
    "online_cloud_timeout_ms",
    "notify_cloud_delay_ms",
    "notify_default_delay_ms",
    "push_chat_period_ms",
    "push_chat_limit",
    "edit_time_limit",
    "revoke_time_limit",
    "revoke_pm_time_limit",
    "rating_e_decay",
    "stickers_recent_limit",
    "channels_read_media_period",
    "call_receive_timeout_ms",
    "call_ring_timeout_ms",
    "call_connect_timeout_ms",
    "call_packet_timeout_ms",
    "caption_length_max",
    "message_length_max",
)


@handles(fn.help.GetConfigRequest, login=False)
def get_config(context: RequestContext, request: Any) -> Any:
    """The addresses of all data centers."""
    now = datetime.now(UTC)
    options = [
        tl.DcOption(dc, host, port, this_port_only=True) for dc, (host, port) in context.addresses.items()
    ]
    return tl.Config(
        date=now,
        expires=now + timedelta(hours=1),
        test_mode=False,
        this_dc=context.dc,
        dc_options=[*options, *context.options],
        dc_txt_domain_name="invalid",
        me_url_prefix="https://t.me/",
        webfile_dc_id=context.home,
        **dict.fromkeys(_LIMITS, 1000),
    )


@handles(fn.help.GetNearestDcRequest, login=False)
def get_nearest_dc(context: RequestContext, request: Any) -> Any:
    """The home data center."""
    return tl.NearestDc("XX", context.dc, context.home)
