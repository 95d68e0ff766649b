"""What is measured: each function is one situation, or a grid of them."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from benchmarks.content import (
    HUGE_BYTES,
    HUGE_ID,
    WIDE_ID,
    Repository,
    many_documents,
    midsize,
    small,
)
from benchmarks.fakes import Behaviour
from benchmarks.measure import Measurement
from benchmarks.rivals import BOUND, RIVALS, Rival, measure_bound, run_clone, run_curl, run_naive, run_ours, run_shell
from benchmarks.startup import MIB
from kerutaprep.embedded import commit_files
from kerutaprep.report import read_report

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.measure import Action
    from benchmarks.task import Task

CONNECTIONS = 16
LATENCIES = (0, 50, 200, 1000)
"""Milliseconds."""


@dataclass(frozen=True)
class Cell:
    """One cell of the grid."""

    far: bool
    repository: str
    latency: int
    """Milliseconds that pass before the API answers."""

    @property
    def name(self) -> str:
        """Where it is in the results."""
        return f"grid/{'far' if self.far else 'near'}/{self.repository}/{self.latency}"

    @property
    def title(self) -> str:
        """For people."""
        return f"git {'far' if self.far else 'near'}, {repository(self.repository).title}, API {self.latency} ms"


def repository(name: str) -> Repository:
    """A repository by its name."""
    return {"small": small, "midsize": midsize}[name]()


GRID = tuple(Cell(far, name, latency) for far, name, latency in product((True, False), ("small", "midsize"), LATENCIES))
QUICK_GRID = (
    Cell(True, "small", 200),
    Cell(True, "midsize", 50),
    Cell(False, "small", 200),
    Cell(False, "small", 1000),
)
"""The cells that every goal of the grid needs at least one of."""


def grid(task: Task, cell: Cell, rounds: int, rivals: tuple[Rival, ...] = RIVALS) -> Measurement:
    """Ours, the rivals and the bound in one cell."""
    chosen = replace(task, far=cell.far, repository=repository(cell.repository))
    chosen.servers.behave(Behaviour(latency=cell.latency / 1000))
    actions: dict[str, Action] = {rival.name: partial(_whole, chosen, rival) for rival in rivals}
    if rivals == RIVALS or (cell.far and cell.latency >= 200):  # the short form measures what a goal asks for
        actions[BOUND] = partial(_bound, chosen)
    return Measurement(cell.name, cell.title).run(actions, rounds)


def _whole(task: Task, rival: Rival) -> Mapping[str, float]:
    with task.fresh() as fresh:
        return {rival.name: rival.measure(fresh).seconds}


def _bound(task: Task) -> Mapping[str, float]:
    with task.fresh() as fresh:
        bound = measure_bound(fresh)
    return {BOUND: bound.seconds, "clone alone": bound.clone, "script alone": bound.script}


def uneven(task: Task, rounds: int) -> Measurement:
    """An API behind a narrow link that answers now sooner, now later, with a document of some size."""
    chosen = replace(task, far=True, narrow=True, documents=(WIDE_ID,))
    chosen.servers.behave(Behaviour(latency=0.1, jitter=0.2))
    title = "git far, 200 files, API 100 to 300 ms at 25 MB/s, a document of 8.7 MB"
    return Measurement("uneven", title).run({rival.name: partial(_whole, chosen, rival) for rival in RIVALS}, rounds)


def git_part(task: Task, spawned: float, rounds: int) -> Measurement:
    """The git part of a run that has nothing else to do, against git clone.

    Args:
        task: gives the servers.
        spawned: seconds from a start of ours to its first git, which the start-up's goals judge.
        rounds: how many.
    """
    chosen = replace(task, far=True, repository=midsize(), documents=(), has_script=False)
    chosen.servers.behave(Behaviour())
    title = "git part alone: git far, 10,600 files, no script, no document"
    actions: dict[str, Action] = {
        "ours": partial(_our_git_part, chosen, spawned),
        "git clone": partial(_git_clone, chosen),
    }
    return Measurement("git part", title).run(actions, rounds)


def _our_git_part(task: Task, spawned: float) -> Mapping[str, float]:
    with task.fresh() as fresh:
        ended = run_ours(fresh)
        fresh.verify()
        report = read_report(fresh.work_dir / ".keruta/prep.json")
    (step,) = (step for step in report["steps"] if step["name"] == "clone")
    before = datetime.fromisoformat(report["started_at"]).timestamp() - ended.began
    end = step["end"] or 0.0
    return {"ours": before + end - spawned, "clone step": end - (step["start"] or 0.0), "whole run": ended.seconds}


def _git_clone(task: Task) -> Mapping[str, float]:
    with task.fresh() as fresh:
        seconds = run_clone(fresh).seconds
        fresh.verify()
    return {"git clone": seconds}


def huge_document(task: Task, rounds: int) -> Measurement:
    """A document of 1 GiB: a whole run, against curl that downloads only that."""
    chosen = replace(task, documents=(HUGE_ID,), has_script=False)
    chosen.servers.behave(Behaviour())
    title = "a document of 1 GiB (git near, 200 files, no script)"
    actions: dict[str, Action] = {"ours": partial(_our_huge, chosen), "curl": partial(_curl_huge, chosen)}
    return Measurement("1 GiB", title).run(actions, rounds)


def _our_huge(task: Task) -> Mapping[str, float]:
    with task.fresh() as fresh:
        ended = run_ours(fresh)
        fresh.verify()
    return {"ours": ended.seconds, "own CPU": ended.cpu, "peak MiB": ended.peak / MIB}


def _curl_huge(task: Task) -> Mapping[str, float]:
    with task.fresh() as fresh:
        ended = run_curl(fresh, fresh.document_url(HUGE_ID), "huge")
        if (fresh.place / "huge").stat().st_size != HUGE_BYTES:
            raise AssertionError("curl left another size")
    return {"curl": ended.seconds}


def thousand_documents(task: Task, rounds: int) -> Measurement:
    """1,000 documents of 1 to 100 KiB: a whole run, against one curl that downloads them side by side."""
    chosen = replace(task, documents=tuple(many_documents()), has_script=False)
    chosen.servers.behave(Behaviour(latency=0.05))
    title = f"1,000 documents of 1 to 100 KiB, API 50 ms, {CONNECTIONS} connections (git near, 200 files, no script)"
    actions: dict[str, Action] = {"ours": partial(_our_thousand, chosen), "curl": partial(_curl_thousand, chosen)}
    return Measurement("1,000 documents", title).run(actions, rounds)


def _our_thousand(task: Task) -> Mapping[str, float]:
    with task.fresh() as fresh:
        ended = run_ours(fresh, "--max-connections", str(CONNECTIONS))
        fresh.verify()
        for document in fresh.documents:
            fresh.expect_document(f".keruta/documents/{document}", document)
    return {"ours": ended.seconds, "own CPU": ended.cpu, "peak MiB": ended.peak / MIB}


def _curl_thousand(task: Task) -> Mapping[str, float]:
    with task.fresh() as fresh:
        listed = fresh.place / "list"
        listed.write_text(
            "".join(f"url = {fresh.document_url(document)}\noutput = {document}\n" for document in fresh.documents)
        )
        ended = fresh.run("curl", "-sf", "--parallel", "--parallel-max", str(CONNECTIONS), "-K", str(listed))
        for document in fresh.documents:
            fresh.expect_document(document, document)
    return {"curl": ended.seconds}


def warm(task: Task, rounds: int) -> Measurement:
    """A volume that has the clone already: the tip not moved, then moved by 20 files, against the fresh clone."""
    servers = task.servers
    shutil.copytree(servers.repository("midsize"), servers.repository("warm"), dirs_exist_ok=True)
    servers.behave(Behaviour(latency=0.05))
    measurement = Measurement("warm", "a volume used again: git far, 10,600 files, API 50 ms")
    chosen = replace(task, far=True, repository=midsize(), remote="warm")
    for number in range(rounds):
        with chosen.fresh() as fresh:
            measurement.add({"fresh": _again(fresh), "tip not moved": _again(fresh)})
            files = {f"src/package_{package:03}/module_00.py": f"ROUND = {number}\n" for package in range(20)}
            commit_files(servers.repository("warm"), files, branch="main", message="Move on")
            changed = replace(chosen.repository, files={**chosen.repository.files, **files})
            chosen = replace(chosen, repository=changed)
            measurement.add({"tip moved": _again(replace(fresh, repository=changed))})
    measurement.tell()
    return measurement


def _again(task: Task) -> float:
    (task.work_dir / ".keruta/installed").unlink(missing_ok=True)
    ended = run_ours(task)
    task.verify()
    return ended.seconds


@contextmanager
def _busy_neighbour(task: Task) -> Iterator[tuple[str, ...]]:
    """Keep a processor busy, and give the words before a command that let it run nowhere else."""
    pinned = ("taskset", "--cpu-list", str(min(os.sched_getaffinity(0))))
    with subprocess.Popen((*pinned, "sh", "-c", "while :; do :; done"), env=dict(task.environment)) as neighbour:
        try:
            yield pinned
        finally:
            neighbour.kill()


def half_core(task: Task, cell: Cell, rounds: int) -> Measurement:
    """One processor, shared with a neighbour that never rests: half a core, for git and the script too."""
    chosen = replace(task, far=cell.far, repository=repository(cell.repository))
    chosen.servers.behave(Behaviour(latency=cell.latency / 1000))
    with _busy_neighbour(task) as pinned:
        rivals = (
            Rival("ours", "", partial(run_ours, prefix=pinned)),
            Rival("parallel", "", partial(run_shell, name="parallel.sh", prefix=pinned)),
            Rival("sequential", "", partial(run_shell, name="sequential.sh", prefix=pinned)),
            Rival("naive", "", partial(run_naive, prefix=pinned)),
        )
        actions: dict[str, Action] = {rival.name: partial(_whole, chosen, rival) for rival in rivals}
        name = cell.name.replace("grid", "half a core")
        return Measurement(name, f"half a core: {cell.title}").run(actions, rounds)


HALF_CORE = (Cell(True, "small", 200), Cell(True, "midsize", 50))
