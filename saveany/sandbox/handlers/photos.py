"""photos.getUserPhotos: the profile photos of a person."""

from typing import Any

from telethon.tl import functions as fn
from telethon.tl import types as tl

from saveany.sandbox.errors import RpcFailure
from saveany.sandbox.handlers.registry import RequestContext, handles

_MAX_PHOTOS = 100


@handles(fn.photos.GetUserPhotosRequest)
def get_user_photos(context: RequestContext, request: Any) -> Any:
    """A page of the photos, newest first. With `max_id` it begins after that photo; an `offset` of -1 then
    includes it (https://core.telegram.org/method/photos.getUserPhotos)."""
    user = context.user(request.user_id)
    if user is None:
        raise RpcFailure(400, "USER_ID_INVALID")
    photos = sorted(user.photos, key=lambda each: each.id, reverse=True)
    newer = [each for each in photos if request.max_id and each.id >= request.max_id]
    start = max(0, len(newer) + request.offset)
    page = photos[start : start + min(request.limit, _MAX_PHOTOS)]
    shown = [context.view.file(each) for each in page]
    users = [context.view.user(user)]
    if len(page) == len(photos):
        return tl.photos.Photos(shown, users)
    return tl.photos.PhotosSlice(len(photos), shown, users)
