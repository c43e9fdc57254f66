"""Requests of the API: keys. `make docs` has written this from openapi.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from saveany.client.request import ApiRequest, quoted

if TYPE_CHECKING:
    from saveany.client.models import (
        KeyList,
        KeyView,
        LoginLinkView,
        MessageReply,
        NewKey,
        NewKeyView,
        NewSession,
        NewUser,
        SessionView,
        UserFields,
        UserList,
        UserView,
    )


def list_keys(*, user_id: int | None = None) -> ApiRequest[KeyList]:
    """Keys.

    Keys, oldest first, including revoked ones: all of them, or those of the caller's user.

    user_id: Only tasks of this user.
    """
    return ApiRequest("GET", "/api/v1/keys", params={"user_id": user_id})


def create_key(body: NewKey) -> ApiRequest[NewKeyView]:
    """Create a key.

    Create a key, which acts as one user. Only this reply contains its secret.
    """
    return ApiRequest("POST", "/api/v1/keys", body=body)


def get_key(key_id: str) -> ApiRequest[KeyView]:
    """One key.

    A key, without its secret.

    key_id: Id of the key.
    """
    return ApiRequest("GET", f"/api/v1/keys/{quoted(key_id)}")


def revoke_key(key_id: str) -> ApiRequest[MessageReply]:
    """Revoke a key.

    End the use of a key at once, with its sessions and event streams. A key can revoke only itself.

    key_id: Id of the key.
    """
    return ApiRequest("DELETE", f"/api/v1/keys/{quoted(key_id)}")


def get_session() -> ApiRequest[SessionView]:
    """Who am I.

    Who sends this request, with a session or without.
    """
    return ApiRequest("GET", "/api/v1/session")


def begin_session(body: NewSession) -> ApiRequest[SessionView]:
    """Begin a session.

    Exchange the token, a key or the code of a login link for a cookie, which lasts 30 days and which
    pages cannot read. Requests that change something need the `csrf_token` of this reply, too. The
    session ends early when its key is revoked, or the token is changed.
    """
    return ApiRequest("POST", "/api/v1/session", body=body)


def end_session() -> ApiRequest[MessageReply]:
    """End the session.

    End the session of this request, with its event streams.
    """
    return ApiRequest("DELETE", "/api/v1/session")


def create_login_link() -> ApiRequest[LoginLinkView]:
    """Create a login link.

    Create a link that opens the web UI and begins a session there as the caller: for another device. It
    works once, within 15 minutes.
    """
    return ApiRequest("POST", "/api/v1/session/links")


def list_users() -> ApiRequest[UserList]:
    """Users.

    The configured users that the caller may act for, and where their files are saved by default.
    """
    return ApiRequest("GET", "/api/v1/users")


def add_user(body: NewUser) -> ApiRequest[UserView]:
    """Add a user.

    Add a user to the configuration. All processes know the user within seconds.
    """
    return ApiRequest("POST", "/api/v1/users", body=body)


def change_user(user_id: int, body: UserFields) -> ApiRequest[UserView]:
    """Change a user.

    Change what a user may use.

    user_id: Telegram id.
    """
    return ApiRequest("PATCH", f"/api/v1/users/{quoted(user_id)}", body=body)


def remove_user(user_id: int) -> ApiRequest[MessageReply]:
    """Remove a user.

    Remove a user from the configuration. Keys of this user do not work any more; the files stay.

    user_id: Telegram id.
    """
    return ApiRequest("DELETE", f"/api/v1/users/{quoted(user_id)}")
