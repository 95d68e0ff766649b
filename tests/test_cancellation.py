"""Cancelling a run from outside: nothing is left running, nothing half done."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import anyio
import pytest

from kerutaprep import StepEvent, prepare
from tests.fakes import DOCUMENT, Gate, Stage, alive, truncated

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio


def _when(step: str, kind: str, then: Callable[[], None]) -> Callable[[StepEvent], None]:
    def note(event: StepEvent) -> None:
        if (event.step, event.kind) == (step, kind):
            then()

    return note


async def test_a_cancelled_scope_stops_the_script(stage: Stage) -> None:
    """Cancelling the caller's scope stops install.sh and its child, and reports the run as cancelled."""
    stage.content.scripts["shop"] = b"#!/bin/sh\nsleep 600 &\necho $! > child; echo ready\nwait\n"
    with anyio.CancelScope() as scope:
        await prepare(stage.settings(), on_event=_when("install", "output", scope.cancel))

    assert scope.cancelled_caught
    assert not alive(int((stage.work / "child").read_text()))
    report = json.loads(stage.keruta("prep.json").read_text())
    assert (report["outcome"], report["exit_code"]) == ("cancelled", 143)
    assert report["steps"][-1]["status"] == "cancelled"


async def test_a_native_task_may_be_cancelled(stage: Stage) -> None:
    """task.cancel() of plain asyncio is not swallowed, neither by a request nor by a wait between attempts."""
    retried = asyncio.Event()
    stage.api.on("/content", *[truncated(DOCUMENT, 1, {"Retry-After": "60"})] * 9)
    task = asyncio.ensure_future(
        prepare(stage.settings(retries=8), on_event=_when("documents", "retried", retried.set))
    )
    await retried.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(stage.api.to("/content")) < 9


@pytest.mark.parametrize("path_part", ["/content", "/script", "/repositories/shop"])
async def test_a_cancelled_download_leaves_no_part(stage: Stage, path_part: str) -> None:
    """Whatever was being downloaded has neither a part nor a final name afterwards."""
    gate = Gate()
    stage.api.on(path_part, gate)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(prepare, stage.settings())
        await gate.arrived.wait()
        tasks.cancel_scope.cancel()
    assert not list(stage.keruta("").glob(".kerutaprep-part-*"))
    if path_part == "/content":
        assert not stage.keruta("README.md").exists()


async def test_the_next_run_after_a_cancelled_one_succeeds(stage: Stage) -> None:
    """A run that was cancelled while git worked leaves nothing that the next one trips over."""
    gate = Gate()
    stage.git.on("git-upload-pack", gate)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(prepare, stage.settings())
        await gate.arrived.wait()
        tasks.cancel_scope.cancel()
    assert not (stage.work / ".git").exists()
    result = await prepare(stage.settings())
    assert result.commit == stage.commit
