"""The input and the reply of requests that send files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from telethon import errors as tg
from telethon import utils
from telethon.tl import types

from saveany.telegram.media import files_in
from saveany.telegram.peers import public_names
from storages.media import Audio, Photo, Video
from storages.message_sender import Document, SentMessage

#: Errors by which Telegram refuses a photo, a video or music that it accepts as a plain file.
MEDIA_REFUSED: Mapping[type[BaseException], str] = {
    tg.ImageProcessFailedError: "IMAGE_PROCESS_FAILED",
    tg.MediaInvalidError: "MEDIA_INVALID",
    tg.PhotoContentTypeInvalidError: "PHOTO_CONTENT_TYPE_INVALID",
    tg.PhotoExtInvalidError: "PHOTO_EXT_INVALID",
    tg.PhotoInvalidDimensionsError: "PHOTO_INVALID_DIMENSIONS",
    tg.PhotoInvalidError: "PHOTO_INVALID",
    tg.PhotoSaveFileInvalidError: "PHOTO_SAVE_FILE_INVALID",
}
#: Sent messages by random id.
Messages = dict[int, SentMessage]

#: Uploads a small file, by its id.
UploadPicture = Callable[[int, bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file that Telegram has already, as input of a request."""

    media: Any
    refused: str = ""  # as in `SentMessage`


async def uploaded_media(document: Document, upload_picture: UploadPicture) -> Any:
    """The input with which Telegram makes a file of uploaded parts."""
    file = (
        types.InputFileBig(document.file, document.parts, document.name)
        if document.big
        else types.InputFile(document.file, document.parts, document.name, document.md5)
    )
    attributes: list[Any] = [types.DocumentAttributeFilename(document.name)]
    match document.properties:
        case None:
            return types.InputMediaUploadedDocument(file, document.mime_type, attributes, force_file=True)
        case Photo():
            return types.InputMediaUploadedPhoto(file)
        case Audio() as audio:
            music = types.DocumentAttributeAudio(
                round(audio.seconds),
                voice=audio.voice,
                title=audio.title or None,
                performer=audio.performer or None,
            )
            return types.InputMediaUploadedDocument(file, document.mime_type, [music, *attributes])
        case Video() as video:
            return await _video(document, video, file, attributes, upload_picture)


async def _video(
    document: Document, video: Video, file: Any, attributes: list[Any], upload_picture: UploadPicture
) -> types.InputMediaUploadedDocument:
    shape = types.DocumentAttributeVideo(video.seconds, video.width, video.height, supports_streaming=True)
    picture = None
    if video.picture:
        picture = types.InputFile(document.file ^ 1, 1, "picture.jpg", "")
        await upload_picture(picture.id, video.picture)
    # Without `nosound_video` Telegram would turn a silent video into an animation.
    return types.InputMediaUploadedDocument(
        file, document.mime_type, [shape, *attributes], thumb=picture, nosound_video=True
    )


def sent_messages(reply: Any, account: str) -> Messages:
    """The messages that were sent."""
    new = types.UpdateNewMessage | types.UpdateNewChannelMessage
    shown = {each.message.id: each.message for each in reply.updates if isinstance(each, new)}
    names = public_names(reply)
    return {
        each.random_id: SentMessage(each.id, account, *_source(shown.get(each.id), account, names))
        for each in reply.updates
        if isinstance(each, types.UpdateMessageID)
    }


def _source(message: Any, account: str, names: Mapping[int, str]) -> tuple[Mapping[str, Any], int]:
    """What finds the file of a sent message again, and its size. Only channels number messages alike for all
    accounts."""
    found = files_in(message, account, names)
    if not found:
        return {}, 0
    is_channel = utils.resolve_id(found[0].chat_id)[1] is types.PeerChannel
    return replace(found[0], only=() if is_channel else (account,)).source(), found[0].size


def noted(sent: Messages, files: Mapping[int, MadeFile]) -> Messages:
    """The messages, with the reasons why Telegram has refused their files, by random id."""
    return {id_: replace(message, refused=files[id_].refused) for id_, message in sent.items()}


def input_media(media: Any) -> Any:
    """The input that sends a file which Telegram has made."""
    if isinstance(media, types.MessageMediaPhoto):
        photo: Any = media.photo
        return types.InputMediaPhoto(types.InputPhoto(photo.id, photo.access_hash, photo.file_reference))
    file = media.document
    return types.InputMediaDocument(types.InputDocument(file.id, file.access_hash, file.file_reference))
