"""Rounds of runs, and what comes of them: medians, and ratios pair by pair."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

Action = Callable[[], Mapping[str, float]]
"""Does something once, and gives what was measured by name: seconds, unless the name has another unit at its end."""


@dataclass
class Measurement:
    """What was measured in one situation, by name and in the order of the rounds."""

    name: str
    title: str
    series: dict[str, list[float]] = field(default_factory=dict)

    def add(self, found: Mapping[str, float]) -> None:
        """Add what one action measured."""
        for name, value in found.items():
            self.series.setdefault(name, []).append(value)

    def run(self, actions: Mapping[str, Action], rounds: int) -> Measurement:
        """Do every action once in each round, each round beginning with another.

        Raises:
            BenchmarkError: one failed, or did not do the work.
        """
        names = list(actions)
        for number in range(rounds):
            first = number % len(names)
            for name in (*names[first:], *names[:first]):
                self.add(actions[name]())
        self.tell()
        return self

    def tell(self) -> None:
        """Say the medians on stderr, so that a long benchmark is seen to be alive."""
        medians = ", ".join(f"{name} {self.median(name):.3f}" for name in self.series)
        print(f"{self.name}: {medians}", file=sys.stderr, flush=True)

    def median(self, name: str) -> float:
        """The median of a series."""
        return median(self.series[name])

    def ratio(self, name: str, other: str) -> float:
        """The median of one series by another, of the same round each."""
        return median(one / two for one, two in zip(self.series[name], self.series[other], strict=True))

    def excess(self, name: str, other: str) -> float:
        """The median of what one series has more than another, of the same round each."""
        return median(one - two for one, two in zip(self.series[name], self.series[other], strict=True))
