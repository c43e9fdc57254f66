"""Errors state how to handle them."""

from __future__ import annotations

import pytest

from saveany import errors


@pytest.mark.parametrize(
    ("error", "retryable", "fatal"),
    [
        (errors.ConfigError("bad"), False, True),
        (errors.InvalidInput("bad"), False, False),
        (errors.NotFound("gone"), False, False),
        (errors.TooMany("busy", 5), True, False),
        (errors.Unavailable(), True, False),
        (errors.StoreUnavailable(), True, False),
        (errors.StoreDamaged(), False, False),
        (errors.Retryable("later"), True, False),
        (errors.Offline("no network"), True, False),
        (errors.Permanent("never"), False, False),
        (errors.NeedsLogin("log in"), False, False),
        (errors.Fenced(), False, True),
        (errors.CancelRequested(), False, True),
        (errors.PauseRequested(), False, True),
        (errors.StorageError(), True, False),
        (errors.NameTaken(), True, False),
        (errors.UnsafePath(), False, False),
        (errors.NoSpace(), False, False),
        (errors.StorageUnavailable(), True, False),
        (errors.StorageBusy(), True, False),
    ],
)
def test_each_error_states_its_handling(error: errors.SaveAnyError, retryable: bool, fatal: bool) -> None:
    assert (error.retryable, error.fatal) == (retryable, fatal)


def test_the_requested_delay_is_kept() -> None:
    assert errors.Retryable("later", after=7.5).after == 7.5
    assert errors.TooMany("busy", 5, after=3).after == 3
    assert errors.StorageError().after == 0


def test_an_error_without_text_uses_that_of_its_class() -> None:
    assert errors.StoreDamaged().message == "A damaged key or record in the task store (Redis) prevents this."


def test_a_text_keeps_its_template_and_fields() -> None:
    error = errors.NotFound("There is no storage {name}.", name="nas")
    assert error.text.template == "There is no storage {name}."
    assert error.text.fields == {"name": "nas"}
    assert error.message == str(error) == "There is no storage nas."
