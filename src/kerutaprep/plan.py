"""A plan: named steps and what each of them needs. Pure data, checked before anything runs."""

from __future__ import annotations

import graphlib
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kerutaprep.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterator


RUN = "run"
"""The name under which the run itself is logged, beside its steps."""
_NAME = re.compile(r"\w[\w .:/-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to do, and the names of the steps that must have succeeded before."""

    name: str
    run: Callable[[], Awaitable[object]]
    """Called without arguments, once. A ``PrepError`` it raises is the run's; anything else is an ``InternalError``."""
    needs: Collection[str] = ()


class Plan:
    """Steps that can be run: every name is there once, every need exists, and no step waits for itself.

    Raises:
        PlanError: they can't; it names each fault.
    """

    def __init__(self, *steps: Step) -> None:
        self.steps = steps
        names = Counter(step.name for step in steps)
        faults = [f"the step {name!r} is there {count} times" for name, count in names.items() if count > 1]
        faults += [
            f"{name!r} can't be the name of a step" for name in names if not _NAME.fullmatch(name) or name == RUN
        ]
        faults += [
            f"the needs of step {step.name!r} are one word, not a collection of names"
            for step in steps
            if isinstance(step.needs, str)
        ]
        faults += [
            f"the step {step.name!r} needs {need!r}, which is no step"
            for step in steps
            for need in sorted(step.needs)
            if need not in names and not isinstance(step.needs, str)
        ]
        try:
            graphlib.TopologicalSorter({step.name: step.needs for step in steps}).prepare()
        except graphlib.CycleError as error:
            faults.append(f"steps wait for each other: {' → '.join(reversed(error.args[1]))}")
        if faults:
            raise PlanError(*faults)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)
