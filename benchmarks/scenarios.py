"""What is measured: the scenarios, what each serves, and the goals it sets."""

from __future__ import annotations

from dataclasses import dataclass

REPOSITORY, DOCUMENT_ID = "shop", "task-1"
DOCUMENT = b"# The task\n\n" + b"Make the shop's basket remember what was put into it.\n" * 1000
FILES = {"README.md": "# A shop\n", **{f"src/part_{number:03}.py": f"PART = {number}\n" * 50 for number in range(200)}}
SLACK = 1.25
"""A goal that is missed is told; one that is missed by more than this factor fails the benchmark."""


@dataclass(frozen=True)
class Goal:
    """The most that our time may be, as a ratio to a rival's of the same round."""

    rival: str
    ratio: float


@dataclass(frozen=True)
class Scenario:
    """One situation in which every rival prepares the same work directory."""

    name: str
    title: str
    api_delay: float
    """Seconds that pass before the document, or the script, is answered."""
    clone_delay: float
    """Seconds that pass before the first answer of a clone; its other requests are answered at once."""
    install_seconds: float
    goals: tuple[Goal, ...]

    @property
    def script(self) -> bytes:
        """The install script: it fails without the clone, and leaves a mark where git does not look."""
        return (
            f"#!/bin/sh\nset -e\ntest -f README.md\nsleep {self.install_seconds}\necho done > .keruta/installed\n"
        ).encode()


SCENARIOS = (
    Scenario(
        name="slow-api",
        title="document, script and clone each delayed by 1 s, install.sh takes 0.2 s",
        api_delay=1.0,
        clone_delay=1.0,
        install_seconds=0.2,
        goals=(Goal("sequential", 0.55), Goal("bound", 1.5)),
    ),
)
