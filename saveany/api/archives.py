"""Routes for archives of whole chats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query

from saveany.api.archive_models import (
    ArchiveCounts,
    ArchivedMessageView,
    ArchiveEstimateView,
    ArchiveList,
    ArchiveMessagesView,
    ArchiveView,
    DiscrepancyView,
    FoundFiles,
    KindEstimateView,
    NewArchive,
    OutcomeName,
    RetriedView,
    VerificationView,
    VerifyArchive,
)
from saveany.api.auth import OperatorPrincipal, TasksPrincipal
from saveany.api.errors import responses
from saveany.api.models import MessageReply
from saveany.api.requests import named
from saveany.api.routes import JsonRoute
from saveany.api.services import InjectedServices
from saveany.api.tasks import UserId
from saveany.languages import localized
from saveany.timefmt import rfc3339

if TYPE_CHECKING:
    from saveany.catalogue.archive_models import ArchivedMessage
    from saveany.service.archives import ArchiveEstimate, ArchiveRequest, ShownArchive
    from saveany.service.verification import Discrepancy

router = APIRouter(prefix="/api/v1/archives", tags=["archives"], route_class=JsonRoute)

#: The names that requests have for fields of `ArchiveRequest`.
FIELDS = {"folder": "dir_path"}

ArchiveId = Annotated[str, Path(description="The id of the archive.", examples=["4c1f09a2be"])]
Cursor = Annotated[str, Query(max_length=2000, description="`next_cursor` of the previous page.")]


@router.post(
    "",
    status_code=201,
    operation_id="createArchive",
    summary="Archive a chat",
    responses=responses(403, 404, 409, 415),
)
async def create(services: InjectedServices, principal: TasksPrincipal, body: NewArchive) -> ArchiveView:
    """Save all files of a chat, and account for every message. A user account must be able to read the
    chat."""
    with named(FIELDS):
        archive = await services.archives.add(principal, _request(body))
    return archive_view(await services.archives.get(principal, archive.id))


def _request(body: NewArchive) -> ArchiveRequest:
    from saveany.service.archives import ArchiveRequest

    return ArchiveRequest(
        chat=body.chat,
        user_id=body.user_id,
        storage=body.storage,
        folder=body.dir_path,
        start=body.start,
        until=body.until,
        follow=body.follow,
        filter=body.filter.model_dump(mode="json", exclude_defaults=True),
        topics=body.topics,
        comments=body.comments,
        comments_filter=body.comments_filter.model_dump(mode="json", exclude_defaults=True),
        account=body.account,
        on_duplicate=body.on_duplicate,
        copy=body.copy_mode,
        on_edit=body.on_edit,
        text=body.text,
        takeout=body.takeout,
        stories=body.stories,
        profile_photos=body.profile_photos,
        extras=body.extras,
        paused=body.paused,
    )


@router.post(
    "/estimate",
    operation_id="estimateArchive",
    summary="See what an archive would contain",
    responses=responses(403, 404, 409, 415),
)
async def estimate(
    services: InjectedServices, principal: TasksPrincipal, body: NewArchive
) -> ArchiveEstimateView:
    """Numbers of files by kind, and estimates of their sizes, for the whole chat. Nothing is archived."""
    with named(FIELDS):
        return estimate_view(await services.archives.estimate(principal, _request(body)))


@router.get("", operation_id="listArchives", summary="Archives", responses=responses(404))
async def list_archives(
    services: InjectedServices, principal: TasksPrincipal, user_id: UserId = None
) -> ArchiveList:
    """All archives with their receipts, oldest first. Watched chats are archives that start with `now`."""
    return ArchiveList(
        archives=[archive_view(each) for each in await services.archives.all(principal, user_id)]
    )


@router.get("/{archive_id}", operation_id="getArchive", summary="One archive", responses=responses(404))
async def get(services: InjectedServices, principal: TasksPrincipal, archive_id: ArchiveId) -> ArchiveView:
    """An archive with its receipt."""
    return archive_view(await services.archives.get(principal, archive_id))


@router.get(
    "/{archive_id}/messages",
    operation_id="listArchiveMessages",
    summary="Messages of an archive",
    responses=responses(404),
)
async def messages(
    services: InjectedServices,
    principal: TasksPrincipal,
    archive_id: ArchiveId,
    outcome: Annotated[OutcomeName | None, Query(description="Only messages with this outcome.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Cursor = "",
) -> ArchiveMessagesView:
    """The messages that have files, in order, with what became of them."""
    from saveany.catalogue.archive_models import MessageOutcome

    wanted = [MessageOutcome(outcome)] if outcome else []
    page = await services.archives.messages(principal, archive_id, wanted, limit, cursor)
    return ArchiveMessagesView(
        messages=[_message(each) for each in page.messages], next_cursor=page.cursor or None
    )


@router.post("/{archive_id}/pause", operation_id="pauseArchive", summary="Pause", responses=responses(404))
async def pause(services: InjectedServices, principal: TasksPrincipal, archive_id: ArchiveId) -> ArchiveView:
    """Read no further messages. Tasks that exist continue."""
    await services.archives.pause(principal, archive_id)
    return archive_view(await services.archives.get(principal, archive_id))


@router.post("/{archive_id}/resume", operation_id="resumeArchive", summary="Resume", responses=responses(404))
async def resume(services: InjectedServices, principal: TasksPrincipal, archive_id: ArchiveId) -> ArchiveView:
    """Continue a paused archive."""
    await services.archives.resume(principal, archive_id)
    return archive_view(await services.archives.get(principal, archive_id))


@router.post("/{archive_id}/retry", operation_id="retryArchive", summary="Retry", responses=responses(404))
async def retry(services: InjectedServices, principal: TasksPrincipal, archive_id: ArchiveId) -> RetriedView:
    """Save the messages again that have failed."""
    return RetriedView(messages=await services.archives.retry(principal, archive_id))


@router.post(
    "/{archive_id}/adopt",
    operation_id="adoptFiles",
    summary="Adopt files",
    responses=responses(403, 404, 415),
)
async def adopt(
    services: InjectedServices, principal: OperatorPrincipal, archive_id: ArchiveId, body: FoundFiles
) -> MessageReply:
    """Name files that are in the storage of the archive already, for example because another program has
    saved them. A file that belongs to a message is not fetched: it is listed as saved. Only messages that
    are read after this request adopt files; create the archive with `paused`. Only operators may do this."""
    from saveany.catalogue.adoption import FoundFile

    found = [FoundFile(each.path, each.size, each.message) for each in body.files]
    await services.adoption.note(principal, archive_id, found)
    return MessageReply(message="the files are noted")


@router.post(
    "/{archive_id}/verify", operation_id="verifyArchive", summary="Verify", responses=responses(404, 415)
)
async def verify(
    services: InjectedServices, principal: TasksPrincipal, archive_id: ArchiveId, body: VerifyArchive
) -> VerificationView:
    """Compare some of the messages with the catalogue and with the sizes of the copies in their storages. A
    request with `next_cursor` verifies the next ones."""
    found = await services.archive_verifier.verify(
        principal,
        archive_id,
        repair=body.repair,
        with_hash=body.hash,
        with_telegram=body.telegram,
        limit=body.limit,
        cursor=body.cursor,
    )
    return VerificationView(
        checked=found.checked,
        discrepancies=[_discrepancy(each) for each in found.discrepancies],
        next_cursor=found.cursor or None,
    )


@router.delete(
    "/{archive_id}", operation_id="deleteArchive", summary="Delete an archive", responses=responses(404)
)
async def delete(
    services: InjectedServices, principal: TasksPrincipal, archive_id: ArchiveId
) -> MessageReply:
    """End an archive and delete its receipt. Its files stay, and its tasks continue."""
    await services.archives.remove(principal, archive_id)
    return MessageReply(message="archive deleted; its files stay")


def estimate_view(found: ArchiveEstimate) -> ArchiveEstimateView:
    """What an archive would contain."""
    contents = found.contents
    kinds = {kind: KindEstimateView(files=n.count, bytes=n.bytes) for kind, n in contents.kinds.items()}
    return ArchiveEstimateView(
        title=found.chat.title,
        messages=found.chat.total,
        kinds=kinds,
        bytes=contents.bytes,
        first_at=rfc3339(contents.first_ms) if contents.first_ms else None,
        last_at=rfc3339(contents.last_ms) if contents.last_ms else None,
        storage=found.storage,
        free_bytes=found.free,
    )


def archive_view(shown: ShownArchive) -> ArchiveView:
    """An archive with its receipt."""
    archive, receipt = shown.archive, shown.receipt
    return ArchiveView(
        id=archive.id,
        chat=archive.name,
        chat_id=archive.chat,
        title=archive.title,
        user_id=archive.user_id,
        storage=archive.storage,
        dir_path=archive.folder,
        start=archive.start,
        follow=archive.follow,
        on_edit=archive.on_edit,
        state=shown.state,
        problem=localized(archive.problem),
        notice=localized(archive.notice),
        position=archive.older_seen if archive.older_chat else archive.seen,
        counts=ArchiveCounts(**receipt.counts()),
        unaccounted=shown.unaccounted,
        bytes=receipt.bytes,
        eta_seconds=shown.eta_seconds,
        created_at=rfc3339(archive.created_at),
        completed_at=rfc3339(archive.completed_at) if archive.completed_at else None,
    )


def _message(message: ArchivedMessage) -> ArchivedMessageView:
    return ArchivedMessageView(
        chat=message.chat,
        message=message.message,
        outcome=message.outcome.value,
        reason=localized(message.reason),
        file_id=message.file_id or None,
        task_id=message.task_id or None,
        edited_at=rfc3339(message.edited_at) if message.edited_at else None,
        size=message.size,
    )


def _discrepancy(found: Discrepancy) -> DiscrepancyView:
    return DiscrepancyView(
        chat=found.message.chat,
        message=found.message.message,
        problem=found.problem,
        storage=found.storage,
        path=found.path,
        replaced=found.is_replaced,
    )
