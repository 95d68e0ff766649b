"""Trying again: what is retried, how often, and how long the waits are."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerutaprep.errors import CredentialsError, DeadlineError, NotFoundError, ProtocolError, TransportError
from kerutaprep.events import Recorder, StepEvent, StepRecord
from kerutaprep.masking import Masker
from kerutaprep.retry import RetryPolicy, retrying

_AT_ONCE = RetryPolicy(retries=3, base=0.0)


def _record(events: list[StepEvent] | None = None) -> StepRecord:
    recorder = Recorder(Masker(), None if events is None else events.append, lambda _line: None)
    recorder.add(["documents"])
    return recorder.steps["documents"]


_ATTEMPTS = st.integers(min_value=1, max_value=10**6)
_SECONDS = st.floats(min_value=0, max_value=1e6)


@given(_ATTEMPTS, st.floats(min_value=0, max_value=10), st.floats(min_value=0, max_value=100))
def test_a_wait_is_bounded(attempt: int, base: float, longest: float) -> None:
    """A wait is between nothing and the base doubled with each attempt, and never above the longest."""
    wait = RetryPolicy(base=base, longest=longest).wait(attempt, None)
    assert 0 <= wait <= min(longest, base * 2.0 ** min(attempt - 1, 1000))


@given(_ATTEMPTS, _SECONDS)
def test_what_the_server_asks_is_a_lower_bound(attempt: int, retry_after: float) -> None:
    """A server that asks for a wait gets it, up to a minute, and never much more."""
    policy = RetryPolicy()
    asked = min(retry_after, 60.0)
    assert asked <= policy.wait(attempt, retry_after) <= asked + policy.longest


def test_waits_have_jitter() -> None:
    """Clients that failed together do not come back together, whether the server asked for a wait or not."""
    policy = RetryPolicy()
    assert len({policy.wait(3, None) for _ in range(20)}) > 1
    assert len({policy.wait(3, 5.0) for _ in range(20)}) > 1


def test_the_defaults_are_the_contract() -> None:
    """Half a second doubles up to twenty, five times, and a minute is the most that a server may ask for."""
    policy = RetryPolicy()
    assert (policy.retries, policy.base, policy.longest, policy.longest_asked) == (5, 0.5, 20.0, 60.0)


async def test_a_transport_error_is_retried() -> None:
    """Attempts are made until one succeeds; each is counted and each failure is told."""
    events: list[StepEvent] = []
    record, numbers = _record(events), list[int]()

    async def attempt(number: int) -> str:
        numbers.append(number)
        if number < 3:
            raise TransportError(f"reset {number}")
        return "whole"

    assert await retrying(attempt, _AT_ONCE, record) == "whole"
    assert numbers == [1, 2, 3]
    assert record.attempts == 3
    assert [(event.kind, event.attempt) for event in events] == [("retried", 1), ("retried", 2)]
    assert "reset 1" in events[0].message
    assert "reset 2" in events[1].message


@pytest.mark.parametrize("retries", [0, 1, 4])
async def test_the_last_error_is_raised(retries: int) -> None:
    """When the retries are used up, the last attempt's own error is raised."""
    errors: list[TransportError] = []

    async def attempt(number: int) -> None:
        errors.append(TransportError(f"refused {number}"))
        raise errors[-1]

    with pytest.raises(TransportError) as caught:
        await retrying(attempt, RetryPolicy(retries=retries, base=0.0), _record())
    assert len(errors) == retries + 1
    assert caught.value is errors[-1]


@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("no"),
        CredentialsError("no"),
        ProtocolError("no"),
        DeadlineError("late"),
        ValueError("bug"),
        OSError("disk"),
        KeyboardInterrupt(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_any_other_error_is_raised_at_once(error: BaseException) -> None:
    """What another attempt would not change is not tried again."""
    record = _record()

    async def attempt(_number: int) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await retrying(attempt, RetryPolicy(), record)
    assert caught.value is error
    assert record.attempts == 1


async def test_cancelling_ends_an_attempt() -> None:
    """A task that is cancelled while it makes an attempt ends, and makes no other."""
    began, record = asyncio.Event(), _record()

    async def attempt(_number: int) -> None:
        began.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(retrying(attempt, _AT_ONCE, record))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert record.attempts == 1


async def test_cancelling_ends_a_wait() -> None:
    """A task that is cancelled while it waits for its next attempt ends, and makes no other."""
    waits = asyncio.Event()
    recorder = Recorder(Masker(), lambda _event: waits.set(), lambda _line: None)
    recorder.add(["script"])

    async def attempt(_number: int) -> None:
        raise TransportError("busy", retry_after=60.0)

    task = asyncio.create_task(retrying(attempt, RetryPolicy(), recorder.steps["script"]))
    await waits.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert recorder.steps["script"].attempts == 1
