"""The caller of an operation."""

from __future__ import annotations

from dataclasses import dataclass

from saveany.errors import Forbidden, NotFound


@dataclass(frozen=True, slots=True)
class Principal:
    """A user, or the operator of this SaveAny."""

    user_id: int | None = None  # None: no particular user, as with the token of the API
    is_operator: bool = False  # may see and change the tasks of all users, the queue and the limits
    chat: int = 0  # marked id of the group in which the bot was asked; 0: not in a group

    def __post_init__(self) -> None:
        if self.user_id is None and not self.is_operator:
            raise ValueError("a principal without a user is the operator")

    def may_access(self, user_id: int) -> bool:
        """Whether tasks of the user with this id may be seen and changed."""
        return self.is_operator or self.user_id == user_id

    def visible_user(self, user_id: int | None) -> int | None:
        """The user whose tasks and files to read, None for all users. Raises `NotFound` for another user."""
        if user_id is None:
            return None if self.is_operator else self.user_id
        if not self.may_access(user_id):
            raise NotFound("you see only what belongs to you, not to user {user}", user=user_id)
        return user_id

    def require_operator(self) -> None:
        """Raise `Forbidden` unless the principal is the operator."""
        if not self.is_operator:
            raise Forbidden("only an administrator may do this")


#: The caller of the API, who has its token.
OPERATOR = Principal(is_operator=True)
