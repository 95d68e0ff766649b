"""One run as a process of its own: signals, orphans, and the outcome as an exit code."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING, NamedTuple

import anyio

from kerutaprep.errors import PrepError
from kerutaprep.headstart import HeadStart
from kerutaprep.preparation import Run
from kerutaprep.process import awaited, reap_orphans, stop_descendants
from kerutaprep.tracing import RunEnd, tracer_for

if TYPE_CHECKING:
    from anyio.abc import TaskGroup, TaskStatus

    from kerutaprep.settings import PrepSettings
    from kerutaprep.terminal.console import Watch

_PR_SET_CHILD_SUBREAPER = 36


class Outcome(NamedTuple):
    """How a run ended."""

    code: int
    message: str
    """What goes to the termination log, in one line."""


def supervise(settings: PrepSettings, head_start: HeadStart, watch: Watch | None = None) -> Outcome:
    """Run ``prepare`` in this process and see to it that no descendant outlives it.

    SIGTERM and SIGINT cancel the run. Orphans of what it starts are reaped, since this process may be PID 1. When it
    returns those two signals are blocked: the run is over, and what is left is to say how it went.

    Args:
        settings: what to do.
        head_start: what of it is under way already.
        watch: is started beside the run, and cancelled when it is over.
    """
    return anyio.run(supervised, settings, head_start, watch)


async def supervised(
    settings: PrepSettings, head_start: HeadStart | None = None, watch: Watch | None = None
) -> Outcome:
    """``supervise`` inside of an event loop in the main thread."""
    _adopt_orphans()
    return await _Supervision(settings, head_start or HeadStart(), watch).execute()


class _Supervision:
    def __init__(self, settings: PrepSettings, head_start: HeadStart, watch: Watch | None) -> None:
        self._settings = settings
        self._head_start = head_start
        self._watch = watch
        awaited.update(head_start.process_ids)
        self._received: signal.Signals | None = None
        self._running = anyio.CancelScope()
        self._tracer = tracer_for(settings)
        self._executed: Run | None = None

    async def execute(self) -> Outcome:
        async with anyio.create_task_group() as tasks:
            await tasks.start(self._watch_signals)
            await tasks.start(self._watch_children)
            tasks.start_soon(self._tracer.load)
            outcome = await self._run(tasks)
            with anyio.CancelScope(shield=True):
                await stop_descendants()
                reap_orphans()
            await self._tracer.close(self._end(outcome))
            # From here on no handler is left that would say anything, and the default is to die.
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
            tasks.cancel_scope.cancel()
        return outcome

    async def _run(self, tasks: TaskGroup) -> Outcome:
        try:
            with self._running:
                run = self._executed = Run(
                    self._settings,
                    cancelled_code=self._signal_code,
                    head_start=self._head_start,
                    tracer=self._tracer,
                )
                if self._watch is not None:
                    await tasks.start(self._watch, run.recorder)
                result = await run.execute()
                facts = {"commit": result.commit, "seconds": result.seconds, "bytes": result.bytes}
                return Outcome(0, json.dumps(facts))
        except PrepError as error:
            masker = self._executed.recorder.masker if self._executed else self._settings.masker()
            return Outcome(error.exit_code, masker.mask(f"failed: {error.summary()}"))
        name = self._received.name if self._received else "a signal"
        return Outcome(self._signal_code(), f"stopped by {name}; running it again is safe")

    def _end(self, outcome: Outcome) -> RunEnd:
        """How the run ended, for the tracer."""
        checkout = self._executed.checkout if self._executed else None
        stopped = self._received is not None and outcome.code == self._signal_code()
        return RunEnd(
            "cancelled" if stopped else "failed" if outcome.code else "succeeded",
            outcome.code,
            outcome.message,
            commit=checkout.commit if checkout else None,
            ref=checkout.ref if checkout else None,
        )

    def _signal_code(self) -> int:
        return 128 + (self._received or signal.SIGTERM)

    async def _watch_signals(self, *, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            task_status.started()
            async for number in signals:
                self._received = self._received or number
                self._running.cancel()

    @staticmethod
    async def _watch_children(*, task_status: TaskStatus[None]) -> None:
        with anyio.open_signal_receiver(signal.SIGCHLD) as signals:
            task_status.started()
            async for _ in signals:
                reap_orphans()


def _adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs (PR_SET_CHILD_SUBREAPER), as PID 1 is anyway."""
    if os.getpid() == 1:
        return
    import ctypes  # noqa: PLC0415 - it costs milliseconds, which PID 1 need not spend

    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
