"""Requests of the API: links. `make docs` has written this from openapi.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saveany.client.request import ApiRequest, quoted

if TYPE_CHECKING:
    from saveany.client.models import LinkChange, LinkPageView, LinkView, MessageReply, NewLink


def list_links(
    *, user_id: int | None = None, limit: int | None = None, cursor: str | None = None
) -> ApiRequest[LinkPageView]:
    """Links.

    Links in whatever state, newest first.

    user_id: Only tasks of this user.

    cursor: `next_cursor` of the previous page.
    """
    return ApiRequest("GET", "/api/v1/links", params={"user_id": user_id, "limit": limit, "cursor": cursor})


def create_link(body: NewLink) -> ApiRequest[LinkView]:
    """Create a link.

    Create a link to a saved file, to a folder, or to the file of a Telegram message, which is not saved.
    Everybody who has the link may use it, without a token.
    """
    return ApiRequest("POST", "/api/v1/links", body=body)


def get_link(token: str) -> ApiRequest[LinkView]:
    """One link.

    A link in whatever state.

    token: The token of the link.
    """
    return ApiRequest("GET", f"/api/v1/links/{quoted(token)}")


def change_link(token: str, body: LinkChange) -> ApiRequest[LinkView]:
    """Change a link.

    Change how a link may be used: extend it, revoke it, or make a revoked one work again.

    token: The token of the link.
    """
    return ApiRequest("PATCH", f"/api/v1/links/{quoted(token)}", body=body)


def delete_link(token: str) -> ApiRequest[MessageReply]:
    """Delete a link.

    Delete a link. It stops working, and is not listed any more.

    token: The token of the link.
    """
    return ApiRequest("DELETE", f"/api/v1/links/{quoted(token)}")


def link_as_qr_code(token: str) -> ApiRequest[bytes]:
    """A link as a QR code.

    The address of the page of a link as a QR code, to be read by a phone.

    token: The token of the link.
    """
    return ApiRequest("GET", f"/api/v1/links/{quoted(token)}/qr", reply="bytes")
