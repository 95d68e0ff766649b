"""What a check finds: looks that wait for each other and never stop each other, and a line for each thing found."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import anyio

from kerutaprep.errors import DeadlineError, NotFoundError, PrepError, ProtocolError, TransportError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

Mark = Literal["ok", "warning", "failed", "skipped"]

_COLOURS: dict[Mark, str] = {"ok": "32", "warning": "33", "failed": "31", "skipped": "2"}
"""Select Graphic Rendition (ECMA-48, 8.3.117)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    mark: Mark
    what: str
    text: str
    error: PrepError | None = None
    """For ``failed``: what a run would end with."""

    def line(self, *, colour: bool) -> str:
        """The finding as one line of printable characters."""
        mark = f"{self.mark:<8}"
        if colour:
            mark = f"\x1b[{_COLOURS[self.mark]}m{mark}\x1b[0m"
        text = " ".join(self.text.split())
        return f"{mark} {self.what:<12} " + "".join(letter if letter.isprintable() else "?" for letter in text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at something; it may find several things."""

    name: str
    run: Callable[[], Awaitable[Sequence[Finding]]]
    """Raises a ``PrepError`` where it finds nothing but that."""
    needs: Collection[str] = ()
    """Looks without whose success this one makes no sense."""
    after: Collection[str] = ()
    """Looks that it waits for, whatever they find."""


def ok(what: str, text: str) -> list[Finding]:
    """Find that something is as it should be."""
    return [Finding("ok", what, text)]


def warning(what: str, text: str) -> list[Finding]:
    """Find something that a run gets over, but a person wants to know."""
    return [Finding("warning", what, text)]


def skipped(what: str, text: str) -> list[Finding]:
    """Find that there is nothing to look at, or that it can't be looked at."""
    return [Finding("skipped", what, text)]


def failed(what: str, error: PrepError, retries: int) -> list[Finding]:
    """Find what a run would end with.

    Args:
        what: was looked at.
        error: the run's.
        retries: attempts after the first that the run would make where that may help.
    """
    error.step = error.step or what
    return [Finding("failed", what, f"{error}{_advice(error, retries)}", error)]


def _advice(error: PrepError, retries: int) -> str:
    match error:
        case TransportError() if retries:
            return f" - this was one attempt; init would make up to {retries + 1}"
        case NotFoundError():
            return " - check the ids, the clone URL and the ref"
        case ProtocolError():
            return " - check the URL and what answers there"
    return ""


async def look_at_all(
    looks: Sequence[Look],
    *,
    deadline: float | None,
    retries: int,
    tell: Callable[[Sequence[Finding]], None],
) -> list[Finding]:
    """Take every look as soon as those are done that it waits for, side by side; none stops another.

    Args:
        looks: each after those that it waits for.
        deadline: seconds for all of them; what is not known by then is found to have failed.
        retries: as in ``failed``.
        tell: called with each look's findings, in the order of ``looks``.

    Returns:
        all findings, in that order.
    """
    everything = _Looks(looks, retries)
    with anyio.CancelScope(deadline=anyio.current_time() + (deadline or math.inf)):
        async with anyio.create_task_group() as tasks:
            for look in looks:
                tasks.start_soon(everything.take, look)
            while everything.untold:
                tell(await everything.next())
    for look in everything.untold:
        late = DeadlineError(f"not known by the deadline of {deadline:g} s")
        tell(everything.found.setdefault(look.name, failed(look.name, late, retries)))
    return [finding for look in looks for finding in everything.found[look.name]]


class _Looks:
    """Looks under way: what each has found, and which wait to be told of."""

    def __init__(self, looks: Sequence[Look], retries: int) -> None:
        self.found: dict[str, Sequence[Finding]] = {}
        self.untold = deque(looks)
        self._done = {look.name: anyio.Event() for look in looks}
        self._unmet: set[str] = set()
        self._retries = retries

    async def take(self, look: Look) -> None:
        for name in (*look.needs, *look.after):
            await self._done[name].wait()
        missing = [name for name in look.needs if name in self._unmet]
        if missing:
            found: Sequence[Finding] = skipped(look.name, f"not looked at, since it needs {' and '.join(missing)}")
        else:
            found = await _outcome(look, self._retries)
        if missing or any(finding.error for finding in found):
            self._unmet.add(look.name)
        self.found[look.name] = found
        self._done[look.name].set()

    async def next(self) -> Sequence[Finding]:
        """The findings of the first look that was not told of."""
        await self._done[self.untold[0].name].wait()
        return self.found[self.untold.popleft().name]


async def _outcome(look: Look, retries: int) -> Sequence[Finding]:
    try:
        return await look.run()
    except PrepError as error:
        return failed(look.name, error, retries)


def decisive_error(findings: Sequence[Finding]) -> PrepError | None:
    """The error that a run would end with: the first that a retry won't mend, else the first; it holds them all."""
    errors = tuple(finding.error for finding in findings if finding.error)
    decisive = next((error for error in errors if not error.retryable), errors[0] if errors else None)
    if decisive is not None:
        decisive.errors = errors
    return decisive
