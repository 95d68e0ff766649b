"""Errors: the exit code that each stands for, and the one line that tells it."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerutaprep import errors
from kerutaprep.errors import (
    CredentialsError,
    DeadlineError,
    InternalError,
    InTheWayError,
    LockedError,
    NotFoundError,
    PlanError,
    PrepError,
    ProtocolError,
    ScriptError,
    ScriptTimeoutError,
    SettingsError,
    TemporaryError,
    TransportError,
    WorkDirError,
)

_EXIT_CODES: dict[type[PrepError], int] = {
    ScriptError: 1,
    NotFoundError: 66,
    PrepError: 70,
    InternalError: 70,
    WorkDirError: 74,
    TemporaryError: 75,
    TransportError: 75,
    DeadlineError: 75,
    LockedError: 75,
    ProtocolError: 76,
    CredentialsError: 77,
    SettingsError: 78,
    PlanError: 78,
    InTheWayError: 74,
    ScriptTimeoutError: 124,
}


@pytest.mark.parametrize(("kind", "code"), _EXIT_CODES.items(), ids=lambda value: getattr(value, "__name__", None))
def test_each_error_has_its_exit_code(kind: type[PrepError], code: int) -> None:
    """An error's exit code is the contract's, and only a temporary one says that a retry helps."""
    assert issubclass(kind, PrepError)
    assert kind.exit_code == code
    assert kind.retryable is (code == 75)


def test_no_error_is_left_out() -> None:
    """Every error that the package defines is one of the contract's."""
    defined = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BaseException)}
    assert defined == set(_EXIT_CODES)


def test_an_error_outside_of_a_run_speaks_for_itself() -> None:
    """The summary of a lone error is its own text."""
    assert NotFoundError("the document is not there").summary() == "the document is not there"


def test_a_summary_names_every_failed_step() -> None:
    """Where several steps failed, the summary of the first names them all, each with its reason."""
    first, second = CredentialsError("refused"), NotFoundError("gone")
    first.step, second.step = "clone", "documents"
    first.errors = (first, second)
    assert first.summary() == "clone: refused; documents: gone"


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_a_summary_is_one_line(messages: list[str]) -> None:
    """Whatever an error's text holds, its summary has no line end."""
    failed = [PrepError(message) for message in messages]
    for error in failed:
        error.step = "install"
    failed[0].errors = tuple(failed)
    summary = failed[0].summary()
    assert len(summary.splitlines()) == 1
    assert summary.count("install:") >= len(messages)


def test_settings_are_told_as_problems() -> None:
    """An error about settings keeps its sentences apart, and is a ValueError for callers in Python."""
    error = SettingsError("--ref: bad", "--depth: bad")
    assert error.problems == ("--ref: bad", "--depth: bad")
    assert str(error) == "--ref: bad; --depth: bad"
    assert isinstance(error, ValueError)


def test_errors_carry_what_a_caller_may_act_on() -> None:
    """The script's own status and the server's wish for a wait are kept."""
    assert ScriptError("ended with 3", status=3).status == 3
    assert TransportError("busy", retry_after=7.5).retry_after == 7.5
    assert TransportError("reset").retry_after is None


@pytest.mark.parametrize(
    "error", [ScriptError("failed", status=3), TransportError("cut", retry_after=2.0), SettingsError("one", "two")]
)
def test_an_error_survives_the_way_between_processes(error: PrepError) -> None:
    """What a process pool gives back is the error with all of its attributes."""
    error.step = "install"
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made a moment ago
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))
