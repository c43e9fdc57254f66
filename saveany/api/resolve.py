"""The route that tells what links lead to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Body

from saveany.api.archives import estimate_view
from saveany.api.auth import TasksPrincipal
from saveany.api.bodies import NewTaskBody
from saveany.api.errors import responses
from saveany.api.models import ResolvedFileView
from saveany.api.requests import adapted
from saveany.api.resolve_models import ResolvedView
from saveany.api.routes import JsonRoute
from saveany.api.services import ApiServices, InjectedServices
from saveany.api.views import duplicate_view
from saveany.catalogue import FileKind
from saveany.languages import localized
from saveany.models import Item
from saveany.service import Principal, TaskRequest
from saveany.telegram.links import is_whole_chat

if TYPE_CHECKING:
    from saveany.service.tasks import ResolvedRequest

router = APIRouter(prefix="/api/v1", tags=["tasks"], route_class=JsonRoute)


@router.post(
    "/resolve",
    operation_id="resolveLinks",
    summary="See what would be saved",
    responses=responses(403, 404, 413, 415),
)
async def resolve(
    services: InjectedServices, principal: TasksPrincipal, body: Annotated[NewTaskBody, Body()]
) -> ResolvedView:
    """The files that a task with this body would save: their names by the user's template and rules, sizes
    and kinds, and which of them the user has saved before. No task is created.

    A link to a whole chat is no task: the reply shows what `POST /api/v1/archives` would save.

    A worker looks the links up; a 404 says why there is nothing to save. A link that works only once is used
    up by this.
    """
    new = adapted(services.config, body)
    with new.naming_fields():
        if new.request.type in ("", "tgfiles") and any(map(is_whole_chat, new.request.links[:1])):
            return await _archive(services, principal, new.request)
        return _view(await services.tasks.resolve(principal, new.request))


async def _archive(services: ApiServices, principal: Principal, request: TaskRequest) -> ResolvedView:
    """What an archive of a whole chat would save."""
    from saveany.service.archives import ArchiveRequest

    wanted = ArchiveRequest(
        chat=request.links[0], user_id=request.user_id, storage=request.storage, folder=request.folder
    )
    found = await services.archives.estimate(principal, wanted)
    return ResolvedView(
        type="archive",
        user_id=found.user_id,
        storage=found.storage,
        path=f"/{request.folder.strip('/')}",
        files=[],
        total_files=sum(each.count for each in found.contents.kinds.values()),
        total_bytes=found.contents.bytes,
        archive=estimate_view(found),
    )


def _view(found: ResolvedRequest) -> ResolvedView:
    return ResolvedView(
        type=found.spec.type,
        user_id=found.spec.user_id,
        storage=found.spec.storage,
        path=f"/{found.spec.path}",
        files=[_file_view(found, item) for item in found.items],
        total_files=found.total,
        total_bytes=sum(item.size or 0 for item in found.items),
    )


def _file_view(found: ResolvedRequest, item: Item) -> ResolvedFileView:
    from saveany.catalogue.rows import (
        guess_mime,
        kind_of,
    )  # imports what only processes with a catalogue need

    document = item.source.get("document")
    same = found.duplicates.get(document) if isinstance(document, int) else None
    mime = str(item.source.get("mime") or guess_mime(item.name))
    return ResolvedFileView(
        name=item.name,
        storage=item.storage or found.spec.storage,
        path=item.path,
        size=item.size,
        mime_type=mime,
        type=FileKind(kind_of(mime)).value,
        duplicate=duplicate_view(same) if same else None,
        error=localized(item.error_text or item.error),
    )
