"""Programs that are killed at a random moment, and what the next run makes of what they leave."""

from __future__ import annotations

import os
import shutil
import signal
import statistics
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import anyio
import anyio.to_thread

from tests.fakes import run_git
from tests.torture.scene import left_over
from tests.torture.upstream import CHANGED, LEFT, UNCHANGED

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anyio.abc import Process

    from tests.torture.scene import Scene

_DRAWS = 8
_POLL = 0.001
_OF_TREE, _AT_CHECKOUT = 0.4, 0.4
"""The parts of the kills that hit the whole process tree, and that wait for the checkout to begin."""
_CHECKOUT_PART = 0.25
"""The part of a run, after its checkout began, in which the latter are drawn."""
_JOURNAL = "kerutaprep-checkout"


def _nothing(_scene: Scene) -> None:
    """Leave everything as it is."""


class Situation(NamedTuple):
    """In what a program is killed."""

    name: str
    before: Callable[[Scene], None]
    """Makes the work directory before the run that is killed."""
    between: Callable[[Scene], None] = _nothing
    """What somebody does after the kill."""
    arguments: tuple[str, ...] = ()
    documents: tuple[str, ...] = ("task-1",)
    kills: int = 1
    whole_tree: bool = False
    """Whether the whole process tree is killed each time: a git that lives on would overwrite what somebody writes."""


def _empty(_scene: Scene) -> None:
    """A fresh volume: the program makes the work directory."""


def _beside_files(scene: Scene) -> None:
    scene.work.mkdir()
    (scene.work / "lost+found").mkdir()
    scene.put("notes.txt", b"keep me\n")
    scene.put("src/part-1/of-mine.txt", b"keep me, too\n")


def _existing(scene: Scene) -> None:
    scene.use_clone()


def _edited(scene: Scene) -> None:
    """A clone at which somebody is at work: it is kept as it is."""
    scene.use_clone()
    _edit(scene)
    scene.commits = {scene.upstream.before}


def _edit(scene: Scene) -> None:
    scene.put(UNCHANGED, b"edited\n")
    scene.put("untracked.txt", b"mine\n")
    scene.put(f"{LEFT}.mine", b"mine, where a directory is removed\n")


def _edit_between(scene: Scene) -> None:
    """Edit what the update does not change: a checkout that was under way is finished, any other is not begun."""
    under_way = (scene.work / ".git" / _JOURNAL).exists()
    if not under_way:
        scene.commits = {run_git(scene.work, "rev-parse", "HEAD").strip()}
    _edit(scene)


def _edit_changing(scene: Scene) -> None:
    """Add words to a file that the update changes: they must be somewhere afterwards."""
    path = scene.work / CHANGED
    words = b"words that nobody has written before\n"
    scene.commits = {scene.upstream.before, scene.upstream.after}
    scene.aside = words
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((path.read_bytes() if path.exists() else b"") + words)


def _to_be_reset(scene: Scene) -> None:
    scene.use_clone()
    for name in (UNCHANGED, CHANGED, "untracked.txt", "untracked/too.txt"):
        path = scene.work / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"to be overwritten or removed\n")
    scene.put("build.log", b"ignored\n")
    scene.put("lost+found/found", b"found\n")


def _of_another_repository(scene: Scene) -> None:
    scene.use_clone()
    run_git(scene.work, "remote", "set-url", "origin", "https://example.org/another.git")
    scene.put(".keruta/leaves.md", b"the repository's leaves.md\n")  # .keruta is not cleaned


SITUATIONS = (
    Situation("fresh clone", _empty),
    Situation("fresh clone beside somebody's files", _beside_files),
    Situation("update", _existing),
    Situation("update of an edited clone", _edited),
    Situation("update, edited after the kill", _existing, between=_edit_between),
    Situation("update, a changing file edited after the kill", _existing, between=_edit_changing, whole_tree=True),
    Situation("reset", _to_be_reset, arguments=("--on-existing", "reset")),
    Situation("reset of another's clone", _of_another_repository, arguments=("--on-existing", "reset")),
    Situation("several documents, one big", _empty, documents=("task-1", "task-2", "big", "odd")),
    Situation("fresh clone, killed again", _empty, kills=2),
    Situation("update, killed again", _existing, kills=2),
    Situation("update, edited between, killed again", _existing, between=_edit_between, kills=2),
)


async def usual_seconds(make_scene: Callable[[int], Scene], situation: Situation, runs: int) -> float:
    """The median duration of a run that nobody disturbs."""
    seconds = []
    for number in range(runs):
        scene = make_scene(number)
        await anyio.to_thread.run_sync(situation.before, scene)
        ended = await scene.run()
        assert ended.code == 0, f"{situation.name}: an undisturbed run ended with {ended.code}: {ended.stderr[-600:]}"
        assert not (problems := await scene.problems()), f"{situation.name}, undisturbed: {problems}"
        seconds.append(ended.seconds)
        await anyio.to_thread.run_sync(shutil.rmtree, scene.directory)
    return statistics.median(seconds)


class Outcome(NamedTuple):
    """What came of one case."""

    problems: list[str]
    note: str = ""
    """What is counted in the table beside the result."""
    early: int = 0
    """How often the program had ended by itself before it was to be killed, so that it was drawn again."""


async def kill_case(make_scene: Callable[[int], Scene], situation: Situation, usual: float) -> Outcome:
    """Kill a program, as often as it says, and run it once more; draw again where it ended before."""
    for draw in range(_DRAWS):
        scene = make_scene(draw)
        await anyio.to_thread.run_sync(situation.before, scene)
        notes = []
        for number in range(situation.kills):
            how = await _kill(scene, situation, usual, aim=number == 0 and scene.upstream.after in scene.commits)
            if how is None:
                break
            notes.append(how)
            if number == 0:
                await anyio.to_thread.run_sync(situation.between, scene)
        if len(notes) == situation.kills or (notes and draw == _DRAWS - 1):
            return Outcome(await scene.recover(), " + ".join(notes), draw)
        await anyio.to_thread.run_sync(shutil.rmtree, scene.directory)
    return Outcome([], "ended before each kill", _DRAWS)


async def _kill(scene: Scene, situation: Situation, usual: float, *, aim: bool) -> str | None:
    """Kill a run and say how, some in the checkout if they are to ``aim``; None where it had ended by itself."""
    whole = situation.whole_tree or scene.rng.random() < _OF_TREE
    aimed = scene.rng.random() < _AT_CHECKOUT and aim
    moment = scene.rng.uniform(0, usual * (_CHECKOUT_PART if aimed else 1))
    async with scene.program() as process:
        if aimed:
            await _checkout_begun(scene.work / ".git" / _JOURNAL, process, usual)
        with anyio.move_on_after(moment):
            await process.wait()
        if process.returncode is not None:
            return None
        under_way = (scene.work / ".git" / _JOURNAL).exists()
        process.kill()
        await process.wait()
    if whole:
        await anyio.to_thread.run_sync(_kill_left_over, scene.work)
    return ("tree" if whole else "program") + (", in its checkout" if under_way else "")


async def _checkout_begun(journal: Path, process: Process, usual: float) -> None:
    with anyio.move_on_after(2 * usual):
        while process.returncode is None and not journal.exists():
            await anyio.sleep(_POLL)


def _kill_left_over(work: Path) -> None:
    for _ in range(100):
        living = left_over(work)
        if not living:
            return
        for pid in living:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
