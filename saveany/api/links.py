"""Routes for links to saved files."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from saveany.api.auth import LinksPrincipal
from saveany.api.bodies import LinkChange, NewLink
from saveany.api.errors import responses
from saveany.api.models import LinkPageView, LinkView, MessageReply
from saveany.api.routes import JsonRoute
from saveany.api.services import ApiServices, InjectedServices
from saveany.api.tasks import UserId
from saveany.errors import Forbidden, InvalidInput
from saveany.planning.requests import check_private_chats
from saveany.telegram.links import parse
from saveany.timefmt import rfc3339

if TYPE_CHECKING:
    from saveany.catalogue.link_models import Link, TelegramMedia

router = APIRouter(prefix="/api/v1/links", tags=["links"], route_class=JsonRoute)

Token = Annotated[str, Path(description="The token of the link.", examples=["Zk3uX9q0bYtP1mR7sVw2aL"])]


@router.post(
    "",
    status_code=201,
    operation_id="createLink",
    summary="Create a link",
    responses=responses(404, 415, 422),
)
async def create(
    services: InjectedServices, principal: LinksPrincipal, request: Request, body: NewLink
) -> LinkView:
    """Create a link to a saved file, to a folder, or to the file of a Telegram message, which is not saved.
    Everybody who has the link may use it, without a token."""
    from saveany.catalogue.link_models import LinkTarget
    from saveany.service.links import LinkOptions

    if [body.file_id, body.folder_id, body.telegram_url].count(None) != 2:
        raise InvalidInput("give one of file_id, folder_id and telegram_url", "file_id")
    options = LinkOptions(
        body.ttl, body.max_downloads or None, body.password or "", body.inline, body.redirect
    )
    media = None
    if body.telegram_url is not None:
        services.links.check(principal, body.user_id)
        media = await _message(services, body.telegram_url, body.user_id)
    target = LinkTarget(body.file_id, body.folder_id, media)
    return _view(request, await services.links.make(principal, body.user_id, target, options))


@router.get("", operation_id="listLinks", summary="Links", responses=responses(404))
async def list_links(
    services: InjectedServices,
    principal: LinksPrincipal,
    request: Request,
    user_id: UserId = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str, Query(max_length=2000, description="`next_cursor` of the previous page.")] = "",
) -> LinkPageView:
    """Links in whatever state, newest first."""
    page = await services.links.page(principal, user_id, limit, cursor)
    return LinkPageView(links=[_view(request, link) for link in page.links], next_cursor=page.cursor or None)


@router.get("/{token}", operation_id="getLink", summary="One link", responses=responses(404))
async def get(
    services: InjectedServices, principal: LinksPrincipal, request: Request, token: Token
) -> LinkView:
    """A link in whatever state."""
    return _view(request, await services.links.get(principal, token))


@router.get(
    "/{token}/qr",
    operation_id="linkAsQrCode",
    summary="A link as a QR code",
    response_class=Response,
    responses={**responses(404), 200: {"description": "A picture.", "content": {"image/svg+xml": {}}}},
)
async def qr_code(
    services: InjectedServices, principal: LinksPrincipal, request: Request, token: Token
) -> Response:
    """The address of the page of a link as a QR code, to be read by a phone."""
    import segno  # only when the first one is shown

    view = _view(request, await services.links.get(principal, token))
    buffer = BytesIO()
    segno.make(view.page_url, micro=False).save(buffer, kind="svg", scale=8, light="#fff", xmldecl=False)
    headers = {"cache-control": "private, max-age=3600", "content-security-policy": "default-src 'none'"}
    return Response(buffer.getvalue(), media_type="image/svg+xml", headers=headers)


@router.patch(
    "/{token}", operation_id="changeLink", summary="Change a link", responses=responses(404, 415, 422)
)
async def change(
    services: InjectedServices, principal: LinksPrincipal, request: Request, token: Token, body: LinkChange
) -> LinkView:
    """Change how a link may be used: extend it, revoke it, or make a revoked one work again."""
    from saveany.service.links import LinkChanges

    changes = LinkChanges(**body.model_dump())
    return _view(request, await services.links.change(principal, token, changes))


@router.delete("/{token}", operation_id="deleteLink", summary="Delete a link", responses=responses(404))
async def delete(services: InjectedServices, principal: LinksPrincipal, token: Token) -> MessageReply:
    """Delete a link. It stops working, and is not listed any more."""
    await services.links.remove(principal, token)
    return MessageReply(message="link deleted")


async def _message(services: ApiServices, url: str, user_id: int) -> TelegramMedia:
    user = services.config.user(user_id)
    if user is None:
        raise Forbidden("user {user} is not configured", user=user_id)
    try:
        check_private_chats([parse(url).url], user)
        return await services.delivery.message(url, user.accounts)
    except InvalidInput as error:
        raise InvalidInput(error.text, "telegram_url") from error


def _view(request: Request, link: Link) -> LinkView:
    from saveany.service.links import LinkUrls

    services: ApiServices = request.app.state.services
    urls = LinkUrls(services.config.api.public_url or str(request.base_url), link)
    return LinkView(
        token=link.token,
        url=urls.download,
        stream_url=urls.stream,
        page_url=urls.page,
        name=link.name,
        user_id=link.user_id,
        state=link.state.value,
        file_id=link.file.id if link.file else None,
        folder_id=link.folder_id,
        inline=link.inline,
        redirect=link.redirect,
        has_password=bool(link.password),
        created_at=rfc3339(link.made_at),
        expires_at=rfc3339(link.expires_at) if link.expires_at is not None else None,
        max_downloads=link.max_downloads,
        downloads=link.downloads,
        bytes_sent=link.bytes_sent,
    )
