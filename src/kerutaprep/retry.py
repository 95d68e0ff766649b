"""Trying again, on our terms: named errors only, always a last attempt, always jitter. Alone imports tenacity."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import anyio
import tenacity

from kerutaprep.errors import TransportError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kerutaprep.events import StepRecord

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and how long to wait in between: exponential backoff with full jitter."""

    retries: int = 5
    """Attempts after the first."""
    base: float = 0.5
    """Seconds: the longest first wait; each further one may be twice as long."""
    longest: float = 20.0
    """Seconds that no backoff exceeds."""
    longest_asked: float = 60.0
    """Seconds up to which a server's ``Retry-After`` is honoured (RFC 9110, 10.2.3)."""

    def wait(self, attempt: int, retry_after: float | None) -> float:
        """Seconds to wait after a failed attempt (from 1).

        What the server asked for is a lower bound. Jitter is added to it, since all of its clients may have been told
        the same: up to half of it, or the backoff if that is longer. With less, the pods of a large fleet come back all
        at once (``docs/performance.md``).
        """
        backoff = min(self.longest, self.base * 2.0 ** min(attempt - 1, 30))
        if retry_after is None:
            return random.uniform(0, backoff)  # noqa: S311 - jitter
        asked = min(retry_after, self.longest_asked)
        return asked + random.uniform(0, max(backoff, min(self.longest, asked / 2)))  # noqa: S311 - jitter


async def retrying(attempt: Callable[[int], Awaitable[T]], policy: RetryPolicy, record: StepRecord) -> T:
    """Call ``attempt`` with 1, 2, … until it does not raise a ``TransportError``.

    Args:
        attempt: makes one attempt.
        policy: when to stop and how long to wait.
        record: the step's, told of each attempt.

    Raises:
        TransportError: the last attempt's, when retries are used up. Any other error is raised at once.
    """

    def wait(state: tenacity.RetryCallState) -> float:
        return policy.wait(state.attempt_number, getattr(_error_of(state), "retry_after", None))

    def before_sleep(state: tenacity.RetryCallState) -> None:
        record.retried(_error_of(state), state.attempt_number, state.upcoming_sleep)

    controller = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(TransportError),
        stop=tenacity.stop_after_attempt(policy.retries + 1),
        wait=wait,
        sleep=anyio.sleep,
        before_sleep=before_sleep,
        reraise=True,
    )
    async for current in controller:
        with current:
            number = current.retry_state.attempt_number
            record.attempt(number)
            return await attempt(number)
    raise AssertionError("tenacity ends by returning or raising")  # pragma: no cover - for the type checker


def _error_of(state: tenacity.RetryCallState) -> TransportError:
    error = state.outcome.exception() if state.outcome else None
    if not isinstance(error, TransportError):
        raise TypeError(f"only a TransportError is retried, not {error!r}")
    return error
