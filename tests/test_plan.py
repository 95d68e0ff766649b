"""Plans that can be run, and plans that can't."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerutaprep.errors import PlanError
from kerutaprep.plan import Plan, Step


async def _nothing() -> None:
    return


def _step(name: str, *needs: str) -> Step:
    return Step(name=name, run=_nothing, needs=needs)


@given(st.data())
def test_every_order_of_a_sound_plan_is_accepted(data: st.DataObject) -> None:
    """Steps that need only one another, and never in a circle, are a plan in whatever order they are given."""
    names = [str(number) for number in range(data.draw(st.integers(min_value=0, max_value=8)))]
    steps = [
        _step(name, *data.draw(st.sets(st.sampled_from(names[:at])) if at else st.just(set())))
        for at, name in enumerate(names)
    ]
    steps = data.draw(st.permutations(steps))
    assert list(Plan(*steps)) == steps


def test_a_duplicate_is_refused() -> None:
    """Two steps of one name are no plan."""
    with pytest.raises(PlanError, match="the step 'a' is there 2 times"):
        Plan(_step("a"), _step("b"), _step("a"))


def test_an_unknown_need_is_refused() -> None:
    """A step that needs what no step is called would wait for ever."""
    with pytest.raises(PlanError, match="the step 'b' needs 'clones', which is no step"):
        Plan(_step("a"), _step("b", "a", "clones"))


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_cycle_is_refused(length: int) -> None:
    """Steps that wait for each other, or one that waits for itself, are no plan."""
    names = [f"s{number}" for number in range(length)]
    with pytest.raises(PlanError, match=r"wait for each other: s.* → s"):
        Plan(*(_step(name, names[at - 1]) for at, name in enumerate(names)))


def test_every_fault_is_named() -> None:
    """All faults of a plan are told at once."""
    with pytest.raises(PlanError) as caught:
        Plan(_step("a"), _step("a"), _step("b", "x", "y"), _step("c", "d"), _step("d", "c"))
    duplicate, first, second, cycle = caught.value.problems
    assert "'a'" in duplicate
    assert ("'x'" in first, "'y'" in second) == (True, True)
    assert {"c", "d"} < set(cycle.replace("→", " ").split())


def test_a_step_can_be_made_from_names_alone() -> None:
    """A step is made by keyword, needs nothing by default, and can't be changed."""
    step = Step(name="a", run=_nothing)
    assert list(step.needs) == []
    with pytest.raises(AttributeError):
        step.name = "b"  # type: ignore[misc] # this is what is tested
