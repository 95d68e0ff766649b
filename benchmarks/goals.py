"""The goals, which of them are known to be out of reach and why, and the verdict on what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

SLACK = 1.25
"""A goal that is missed is told; one that is missed by more than this factor fails the benchmark."""


@dataclass(frozen=True)
class Goal:
    """The most that something may be."""

    name: str
    title: str
    limit: float
    unit: str = ""
    """Empty for a ratio."""
    scale: str = ""
    """What the limit is scaled by, where it is a time that depends on the machine."""
    below: bool = False
    """The limit itself is too much."""

    def shown(self, limit: float) -> str:
        """A limit of this goal's, for people."""
        return f"{'<' if self.below else '≤'} {limit:.3g}{self.unit}"


@dataclass(frozen=True)
class Known:
    """Why a goal is out of reach, and what fails the benchmark in its stead."""

    limit: float
    """Not scaled, and without slack."""
    reason: str


REFERENCE = {"bare interpreter": 0.010, "import aiohttp": 0.177}
"""Seconds on the machine for which the goals of the start-up were set."""
GOALS = (
    Goal("far", "git far, any cell, against parallel.sh", 1.05),
    Goal("near", "git near, API ≥ 200 ms, more than parallel.sh", 190, " ms", scale="import aiohttp"),
    Goal("sequential", "API ≥ 50 ms, any cell, against sequential.sh", 1.0, below=True),
    Goal("sequential 200", "API 200 ms, against sequential.sh", 0.7),
    Goal("sequential 1000", "API 1000 ms, against sequential.sh", 0.45),
    Goal("bound", "git far, API ≥ 200 ms, against the bound", 1.15),
    Goal("git part", "10,600 files, our git part against git clone", 0.97),
    Goal("1 GiB", "document of 1 GiB, wall against curl", 1.3),
    Goal("1 GiB memory", "document of 1 GiB, peak RSS", 56, " MiB"),
    Goal("1,000 documents", "1,000 documents at 50 ms, against curl --parallel", 1.15),
    Goal("warm", "warm volume, tip not moved, against a fresh clone", 0.5),
    Goal("fleet requests", "fleet: requests per needed request", 1.3),
    Goal("fleet p99", "fleet: p99 ready against the ideal queue", 1.5),
    Goal("start git", "start: git on its way", 25, " ms", scale="bare interpreter"),
    Goal("start request", "start: first request", 190, " ms", scale="import aiohttp"),
    Goal("start CPU", "start: own CPU in a plain run", 0.30, " s", scale="import aiohttp"),
    Goal("start memory", "start: peak RSS in a plain run", 56, " MiB"),
)

KNOWN: Mapping[str, Known] = {
    "fleet requests": Known(
        2.3,
        "10,000 pods that ask for two things each within 10 s make 20,000 requests, of which the API serves 2,000: "
        "the other 18,000 first tries are refused whatever the policy, so no policy gets below 1.90.",
    ),
    "sequential": Known(
        1.6,
        "With git near, 200 files and an API of 50 ms the shell is done after 0.26 s; the imports alone take 0.2 s.",
    ),
    "sequential 1000": Known(
        0.65,
        "sequential.sh waits for the API twice and everybody else once: where git takes no second of its own, the "
        "bound itself is at 0.47 (git far) or 0.52 (git near) of it.",
    ),
}


@dataclass(frozen=True)
class Verdict:
    """What became of a goal."""

    goal: Goal
    limit: float
    """The goal's, scaled to this machine."""
    found: Mapping[str, float]
    """What was measured, by where; empty where nothing was."""
    known: Known | None = None

    @property
    def place(self) -> str:
        """Where it was worst."""
        return max(self.found, key=lambda where: self.found[where], default="")

    @property
    def worst(self) -> float | None:
        """The worst that was measured."""
        return max(self.found.values(), default=None)

    @property
    def met(self) -> int:
        """In how many places it is met."""
        return sum(self._meets(value) for value in self.found.values())

    def _meets(self, value: float) -> bool:
        return value < self.limit or (value == self.limit and not self.goal.below)

    @property
    def fails_above(self) -> float:
        """What fails the benchmark."""
        return self.limit * SLACK if self.known is None else self.known.limit

    @property
    def word(self) -> str:
        """In a word: ``met``, ``missed`` (within the slack), ``known``, ``broken`` or ``not measured``."""
        if self.worst is None:
            return "not measured"
        if self._meets(self.worst):
            return "met"
        if self.worst > self.fails_above:
            return "broken"
        return "missed" if self.known is None else "known"


def judge(
    found: Mapping[str, Mapping[str, float]],
    scales: Mapping[str, float],
    goals: tuple[Goal, ...] = GOALS,
    known: Mapping[str, Known] = KNOWN,
) -> list[Verdict]:
    """Compare what was measured with the goals.

    Args:
        found: by a goal's name, what was measured by where.
        scales: how much slower than the reference this machine is, by what is scaled by; 1 where it is not there.
        goals: what is aimed at.
        known: those out of reach, by name.
    """
    return [
        Verdict(goal, goal.limit * scales.get(goal.scale, 1.0), found.get(goal.name, {}), known.get(goal.name))
        for goal in goals
    ]
