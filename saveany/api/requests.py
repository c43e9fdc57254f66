"""Converts both bodies of a new task to a `TaskRequest`, and the fields of its errors back to their names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from saveany.api.bodies import NewTask, TypedTask
from saveany.config import Config
from saveany.errors import InvalidInput
from saveany.models import OnConflict, OnDuplicate
from saveany.planning.source_choice import source_of
from saveany.service import TaskRequest
from saveany.sources import Params, ParamsModel, SourceSpec


@dataclass(frozen=True, slots=True)
class AdaptedRequest:
    """A request for a task, and the names that its body has for the fields of `TaskRequest`."""

    request: TaskRequest
    field_names: Mapping[str, str]

    def naming_fields(self) -> AbstractContextManager[None]:
        """Within this context, an `InvalidInput` names the field of the body."""
        return named(self.field_names)


@contextmanager
def named(names: Mapping[str, str]) -> Iterator[None]:
    """Within this context, an `InvalidInput` has the name that its field has in the request."""
    try:
        yield
    except InvalidInput as error:
        raise InvalidInput(error.text, names.get(error.field, error.field)) from error


def adapted(config: Config, body: NewTask | TypedTask) -> AdaptedRequest:
    """The request in a body. Raises `InvalidInput` or `RequestValidationError`."""
    return _of_typed(config, body) if isinstance(body, TypedTask) else _of_plain(config, body)


def body_hash(body: NewTask | TypedTask) -> str:
    """A hash that is equal for equal requests."""
    return hashlib.sha256(f"/api/v1/tasks\n{body.model_dump_json()}".encode()).hexdigest()


def _of_plain(config: Config, body: NewTask) -> AdaptedRequest:
    if body.type:
        check_link_is_enough(source_of(config, body.type))
    request = TaskRequest(
        type=body.type or ("tgfiles" if body.telegram_url else ""),
        links=[body.telegram_url or body.url],
        user_id=body.user_id,
        storage=body.storage_name,
        folder=body.dir_path if "dir_path" in body.model_fields_set else "",
        filename=body.filename,
        on_conflict=_conflict_policy(body),
        on_duplicate=_duplicate_policy(body),
        priority=body.priority,
        webhook_url=body.webhook_url,
    )
    return AdaptedRequest(
        request,
        {"links": "url" if body.url else "telegram_url", "storage": "storage_name", "folder": "dir_path"},
    )


def _of_typed(config: Config, body: TypedTask) -> AdaptedRequest:
    model = source_of(config, body.type).params
    params = _params(model, body)
    extras = params.extras()
    request = TaskRequest(
        type=body.type,
        links=params.links(),
        user_id=body.user_id,
        storage=extras.pop("target_storage", "") or body.storage,
        folder=extras.pop("target_path", "") or body.path,
        filename=body.filename,
        on_conflict=_conflict_policy(body),
        on_duplicate=_duplicate_policy(body),
        priority=body.priority,
        webhook_url=body.webhook,
        params=extras,
    )
    return AdaptedRequest(
        request, {"links": f"params.{model.link_field}", "folder": "path", "webhook_url": "webhook"}
    )


def check_link_is_enough(source: SourceSpec) -> None:
    """Raise `InvalidInput` for a source that needs more than a link."""
    fields = source.params.model_fields.items()
    if needed := [name for name, field in fields if field.is_required() and name != source.params.link_field]:
        raise InvalidInput(
            "{type} needs more than a link: send params with {fields}",
            "type",
            type=source.type,
            fields=", ".join(needed),
        )


def _conflict_policy(body: NewTask | TypedTask) -> OnConflict | None:
    return OnConflict(body.on_conflict) if "on_conflict" in body.model_fields_set else None


def _duplicate_policy(body: NewTask | TypedTask) -> OnDuplicate | None:
    return OnDuplicate(body.on_duplicate) if "on_duplicate" in body.model_fields_set else None


def _params(model: ParamsModel, body: TypedTask) -> Params:
    """The `params` of a body, validated by the model of its source."""
    try:
        return model.model_validate(body.params, strict=True)
    except ValidationError as error:
        found: list[Any] = error.errors(include_url=False)
        known = list(model.model_fields)
        raise RequestValidationError(
            [
                {
                    **each,
                    "loc": ("body", "typed", "params", *each["loc"]),
                    "ctx": {**each.get("ctx", {}), "known": known if len(each["loc"]) == 1 else []},
                }
                for each in found
            ]
        ) from error
