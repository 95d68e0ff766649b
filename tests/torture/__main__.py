"""The long-form fault test: whole programs, killed at random moments, behind failing networks and on full disks.

``python -m tests.torture`` prints a table of what was done and what came of it, and ends with 1 if anything was lost or
not recovered. What is random comes from the seed and the case's number alone, so that ``--only NUMBER`` draws it again;
the moment that the operating system makes of it is its own.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from kerutaprep.embedded import Content, api_application, delayed, git_application, serve
from tests.torture import disks as torture_disks
from tests.torture import faults as torture_faults
from tests.torture.disks import DiskCase, disk_case
from tests.torture.faults import FaultCase, fault_case
from tests.torture.kills import SITUATIONS, Outcome, Situation, kill_case, usual_seconds
from tests.torture.proxy import open_proxy
from tests.torture.scene import SCRIPT, Scene
from tests.torture.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FIRST_FAULT = 10_001
"""The number of the first network or disk fault; kills are numbered from 1."""
_LONGEST_CASE = 600.0
_DELAY = 0.02
_WAITING = 3
"""How many times as many network faults as kills run at a time: they mostly wait."""
_SIZES = {"task-1": 2_000, "task-2": 40_000, "odd": 1, "big": 4_000_000}
_FAULTS: tuple[FaultCase | DiskCase, ...] = (*torture_faults.CASES, *torture_disks.CASES)


@dataclass
class Row:
    """One line of the table."""

    runs: int = 0
    failed: int = 0
    early: int = 0
    notes: Counter[str] = field(default_factory=Counter)

    def cells(self) -> tuple[str, ...]:
        """As they are printed."""
        notes = "; ".join(f"{note}: {count}" for note, count in sorted(self.notes.items()))
        return str(self.runs), str(self.runs - self.failed), str(self.failed), notes


@dataclass
class Torture:
    """One invocation."""

    options: argparse.Namespace
    root: Path
    rows: dict[str, Row] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    usual: dict[str, float] = field(default_factory=dict)
    api_url: str = ""
    repository_url: str = ""

    def __post_init__(self) -> None:
        self.upstream = Upstream(self.root, self._rng(0))
        self.documents = {name: self._rng(size).randbytes(size) for name, size in _SIZES.items()}

    def _rng(self, number: int) -> random.Random:
        return random.Random(f"{self.options.seed}-{number}")  # noqa: S311 - to be drawn again

    async def run(self) -> None:
        """Do everything that was asked for."""
        await anyio.to_thread.run_sync(self.upstream.make)
        content = Content(scripts={"shop": SCRIPT}, documents=self.documents)
        async with AsyncExitStack() as stack:
            api_url = await stack.enter_async_context(serve(api_application(content, delayed(_DELAY))))
            git = git_application(self.upstream.bare.parent, delayed(_DELAY))
            git_url = await stack.enter_async_context(serve(git))
            self.api_url = (await stack.enter_async_context(open_proxy(api_url))).url
            self.repository_url = f"{(await stack.enter_async_context(open_proxy(git_url))).url}/shop.git"
            content.repositories["shop"] = {"url": self.repository_url}
            await self._make_template()
            kills, faults, disks = self._chosen()
            await self._measure(kills)
            await self._at_a_time(self.options.jobs, {n: partial(self._kill, n, s) for n, s in kills.items()})
            await self._at_a_time(
                _WAITING * self.options.jobs, {n: partial(self._fault, n, c) for n, c in faults.items()}
            )
            await self._at_a_time(self.options.jobs, {n: partial(self._disk, n, c) for n, c in disks.items()})

    def _chosen(self) -> tuple[dict[int, Situation], dict[int, FaultCase], dict[int, DiskCase]]:
        only = self.options.only
        kills = {n: SITUATIONS[(n - 1) % len(SITUATIONS)] for n in range(1, self.options.kills + 1)}
        others = {FIRST_FAULT + n: _FAULTS[n % len(_FAULTS)] for n in range(self.options.faults)}
        if only is not None and only < FIRST_FAULT:
            kills, others = {only: SITUATIONS[(only - 1) % len(SITUATIONS)]}, {}
        elif only is not None:
            kills, others = {}, {only: _FAULTS[(only - FIRST_FAULT) % len(_FAULTS)]}
        faults = {number: case for number, case in others.items() if isinstance(case, FaultCase)}
        disks = {number: case for number, case in others.items() if isinstance(case, DiskCase)}
        if disks and not torture_disks.can_mount(self.root / "try-mount"):
            for case in disks.values():
                self.rows[case.name] = Row(notes=Counter({"skipped, tmpfs can't be mounted": 1}))
            disks = {}
        for name in (case.name for cases in (kills, faults, disks) for case in cases.values()):
            self.rows.setdefault(name, Row())
        return kills, faults, disks

    async def _make_template(self) -> None:
        scene = self._scene(self.root / "before", 0)
        ended = await scene.run()
        assert ended.code == 0, ended.stderr
        await anyio.to_thread.run_sync(scene.work.rename, self.upstream.template)
        await anyio.to_thread.run_sync(self.upstream.show, self.upstream.after)

    async def _measure(self, kills: dict[int, Situation]) -> None:
        situations = {situation.name: situation for situation in kills.values()}

        async def measure(situation: Situation) -> None:
            def make_scene(number: int) -> Scene:
                name = f"usual-{SITUATIONS.index(situation)}-{number}"
                return self._scene(self.root / name, number, situation)

            self.usual[situation.name] = await usual_seconds(make_scene, situation, 1 if self.options.quick else 3)

        await self._at_a_time(self.options.jobs, {n: partial(measure, s) for n, s in enumerate(situations.values())})

    async def _at_a_time(self, jobs: int, work: dict[int, Callable[[], Awaitable[None]]]) -> None:
        limiter = anyio.CapacityLimiter(jobs)

        async def one(job: Callable[[], Awaitable[None]]) -> None:
            async with limiter:
                await job()

        async with anyio.create_task_group() as tasks:
            for job in work.values():
                tasks.start_soon(one, job)

    def _scene(self, directory: Path, number: int, situation: Situation | None = None) -> Scene:
        documents = (
            self.documents if situation is None else {name: self.documents[name] for name in situation.documents}
        )
        arguments = () if situation is None else situation.arguments
        return Scene(
            directory, self.upstream, self._rng(number), self.api_url, self.repository_url, documents, arguments
        )

    async def _kill(self, number: int, situation: Situation) -> None:
        rng = self._rng(number)

        def make_scene(draw: int) -> Scene:
            scene = self._scene(self.root / f"case-{number}" / str(draw), number, situation)
            scene.rng = rng
            return scene

        await self._judge(number, situation.name, partial(kill_case, make_scene, situation, self.usual[situation.name]))

    async def _fault(self, number: int, case: FaultCase) -> None:
        rng = self._rng(number)

        def make_scene(api_url: str, repository_url: str) -> Scene:
            directory = self.root / f"case-{number}" / "case"
            return Scene(directory, self.upstream, rng, api_url, repository_url, torture_faults.DOCUMENTS)

        await self._judge(number, case.name, partial(fault_case, self.upstream.bare.parent, make_scene, case, rng))

    async def _disk(self, number: int, case: DiskCase) -> None:
        scene = self._scene(self.root / f"case-{number}", number)
        await self._judge(number, case.name, partial(disk_case, scene, case))

    async def _judge(self, number: int, name: str, case: Callable[[], Awaitable[Outcome]]) -> None:
        """Run a case and enter what came of it; a case that breaks is one that failed."""
        outcome = Outcome(["it did not end"], "broken")
        try:
            with anyio.move_on_after(_LONGEST_CASE):
                outcome = await case()
        except Exception:  # noqa: BLE001 - one case must not take the others with it
            outcome = Outcome([traceback.format_exc()], "broken")
        row = self.rows[name]
        row.runs += 1
        row.notes[outcome.note] += 1
        row.early += outcome.early
        if outcome.problems:
            row.failed += 1
            command = f"python -m tests.torture --seed {self.options.seed} --only {number}"
            text = "\n".join(f"- {problem}" for problem in outcome.problems)
            failure = f"### {name} ({outcome.note}), number {number}: {command}\n\n{text}\n"
            self.failures.append(failure)
            sys.stderr.write(f"{failure}\n")
        if not (outcome.problems and self.options.keep):
            await anyio.to_thread.run_sync(partial(shutil.rmtree, self.root / f"case-{number}", ignore_errors=True))

    def table(self) -> str:
        """What was done, in Markdown."""
        lines = ["| fault | runs | recovered | lost | of which |", "|---|---:|---:|---:|---|"]
        lines += [f"| {' | '.join((name, *row.cells()))} |" for name, row in self.rows.items()]
        late = sum(row.notes["ended before each kill"] for row in self.rows.values())
        killed = sum(self.rows[s.name].runs for s in SITUATIONS if s.name in self.rows)
        early = sum(row.early for row in self.rows.values())
        lines += ["", f"{killed - late} of {killed} kill cases were killed before the program ended by itself;"]
        lines += [f"{early} draws, whose program had ended before, are not counted."]
        return "\n".join(lines) + "\n"


def _options(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description="The long-form fault test.")
    parser.add_argument("--kills", type=int, default=None, help="how many cases of kills [300]")
    parser.add_argument("--faults", type=int, default=None, help="how many of failing networks and full disks [200]")
    parser.add_argument("--seed", type=int, default=1, help="of everything random [1]")
    parser.add_argument("--jobs", type=int, default=2, help="programs at a time; three times as many that wait [2]")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="run this case again")
    parser.add_argument("--quick", action="store_true", help="24 kills and 24 faults")
    parser.add_argument("--keep", action="store_true", help="keep the directories of cases that failed")
    options = parser.parse_args(words)
    options.kills = options.kills if options.kills is not None else 24 if options.quick else 300
    options.faults = options.faults if options.faults is not None else 24 if options.quick else 200
    return options


def main() -> int:
    """Run it, and give the exit code."""
    options = _options()
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # a server that loses its client says so at length
    root = Path(tempfile.mkdtemp(prefix="kerutaprep-torture-"))
    started = time.monotonic()
    torture = Torture(options, root)
    try:
        anyio.run(torture.run)
    finally:
        if not (options.keep and torture.failures):
            shutil.rmtree(root, ignore_errors=True)
    sys.stdout.write(f"{torture.table()}\n{time.monotonic() - started:.0f} s, seed {options.seed}.\n")
    if torture.failures:
        sys.stdout.write("\n## What was lost or not recovered\n\n" + "\n".join(torture.failures))
    if options.keep and torture.failures:
        sys.stdout.write(f"\nTheir directories are kept in {root}.\n")
    return 1 if torture.failures else 0


if __name__ == "__main__":
    sys.exit(main())
