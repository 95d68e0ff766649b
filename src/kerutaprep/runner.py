"""Runs a plan: one task a step, each waiting for its needs; the first failure stops the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from kerutaprep.errors import InternalError, PrepError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kerutaprep.events import StepRecord
    from kerutaprep.plan import Plan, Step


async def run_plan(plan: Plan, records: dict[str, StepRecord]) -> None:
    """Run every step of a plan as soon as its needs are met.

    A step that fails cancels all others. Where the caller's scope is cancelled, every running step is, and each has
    cleaned up when this returns.

    Args:
        plan: what to run.
        records: by name, the record of each step.

    Raises:
        PrepError: the error that decides: the first that a retry won't mend, else the first. Its ``errors`` holds
            every step's.
    """
    done = {step.name: anyio.Event() for step in plan}
    failures: list[PrepError] = []

    async def run_step(step: Step) -> None:
        for need in step.needs:
            await done[need].wait()
        failure = await _run_recorded(step, records[step.name])
        if failure is None:
            done[step.name].set()
        else:
            failures.append(failure)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for step in plan:
            tasks.start_soon(run_step, step, name=f"kerutaprep {step.name}")
    if failures:
        decisive = next((error for error in failures if not error.retryable), failures[0])
        decisive.errors = tuple(failures)
        raise decisive


async def run_together(*calls: Callable[[], Awaitable[object]]) -> None:
    """Run calls at the same time; the first that fails stops the others and is raised as it is, not in a group.

    Raises:
        PrepError: the first call's that failed.
    """
    failures: list[PrepError] = []

    async def run_one(call: Callable[[], Awaitable[object]]) -> None:
        try:
            await call()
        except PrepError as error:
            failures.append(error)
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for call in calls:
            tasks.start_soon(run_one, call)
    if failures:
        raise failures[0]


async def _run_recorded(step: Step, record: StepRecord) -> PrepError | None:
    record.begin()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(record.keep_telling)
            failure = await _outcome(step)
            tasks.cancel_scope.cancel()
    except anyio.get_cancelled_exc_class():
        record.cancel()
        raise
    if failure is None:
        record.finish()
    else:
        record.fail(failure)
    return failure


async def _outcome(step: Step) -> PrepError | None:
    try:
        await step.run()
    except PrepError as error:
        return error
    except Exception as error:  # noqa: BLE001 - the boundary to foreign steps: whatever they raise ends the run as a bug
        failure = InternalError(f"{type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure
    return None
