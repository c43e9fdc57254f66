"""The table of fields: each dialect has each name once, and forms that JSON has."""

from __future__ import annotations

import pytest

from saveany.compat.openload import dialects
from saveany.compat.openload.calls import CALLS
from saveany.compat.openload.dialects import DIALECTS, Dialect, Field, render

EVERY_DIALECT = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.name)


@EVERY_DIALECT
def test_no_field_has_two_forms(dialect: Dialect) -> None:
    for path, call in CALLS.items():
        names = [field.name for field in call.fields if dialect.name in field.forms]
        assert len(names) == len(set(names)), path


@EVERY_DIALECT
def test_a_file_that_does_not_exist_has_known_fields(dialect: Dialect) -> None:
    known = {field.name for field in dialects.INFO if dialect.name in field.forms}
    assert set(dialects.UNKNOWN_FILE[dialect.name]) <= known


@EVERY_DIALECT
def test_what_is_not_known_has_no_form(dialect: Dialect) -> None:
    fields: list[Field[None]] = [
        Field("nothing", lambda _: None, "", dialects.STRING),
        Field("no", lambda _: False, "", dialects.NUMBER),
        Field("text", lambda _: 7, "", dialects.STRING),
        Field("number", lambda _: "7", "", dialects.NUMBER),
    ]
    assert render(fields, dialect, None) == {"nothing": None, "no": False, "text": "7", "number": 7}


def test_progress_is_a_number_or_a_text() -> None:
    field: Field[float] = Field(
        "progress", lambda v: v, "", dialects.FRACTION, pstream=dialects.PERCENT_STRING
    )
    assert [render([field], each, 0.7841)["progress"] for each in DIALECTS] == [0.7841, 0.7841, "78.41"]
    assert render([field], dialects.PSTREAM, 1.0) == {"progress": "100"}
    assert render([field], dialects.PSTREAM, 0.0) == {"progress": "0"}
