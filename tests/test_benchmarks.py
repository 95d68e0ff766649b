"""What the benchmarks conclude: the fleet's simulation, the goals' verdicts, ratios, phases and the page."""

from __future__ import annotations

import random

import pytest

from benchmarks.faults import Tally
from benchmarks.fleet import Exponential, FixedWait, Fleet, floor, ideal, simulate
from benchmarks.goals import GOALS, KNOWN, SLACK, Goal, Known, judge
from benchmarks.link import Lane, Link
from benchmarks.measure import Measurement
from benchmarks.phases import Phase, phases_of_script
from benchmarks.publish import fill
from kerutaprep.retry import RetryPolicy

_GOAL = Goal("g", "a goal", 2.0)
_SMALL = Fleet(pods=500, within=0.5)


def _word(value: float | None, goal: Goal = _GOAL, known: Known | None = None, scale: float = 1.0) -> str:
    found = {} if value is None else {goal.name: {"fast": 0.1, "slow": value}}
    return judge(found, {"machine": scale}, (goal,), {goal.name: known} if known else {})[0].word


@pytest.mark.parametrize(
    ("value", "word"),
    [(None, "not measured"), (2.0, "met"), (2.1, "missed"), (2.0 * SLACK, "missed"), (2.0 * SLACK + 0.01, "broken")],
)
def test_a_goal_is_met_up_to_its_limit_and_broken_beyond_the_slack(value: float | None, word: str) -> None:
    """The worst place decides; between limit and slack a goal is missed, which fails nothing."""
    assert _word(value) == word


def test_a_goal_below_a_limit_is_missed_at_it() -> None:
    """Where less than the limit is asked for, the limit itself is too much."""
    assert _word(2.0, Goal("g", "a goal", 2.0, below=True)) == "missed"


@pytest.mark.parametrize(("value", "word"), [(1.9, "met"), (2.9, "known"), (3.1, "broken")])
def test_a_goal_known_to_be_out_of_reach_fails_above_its_weaker_limit(value: float, word: str) -> None:
    """A known goal fails nothing until its own limit, which has no slack."""
    assert _word(value, known=Known(3.0, "why")) == word


def test_a_limit_that_depends_on_the_machine_is_scaled() -> None:
    """On a machine twice as slow twice the time is allowed; a ratio is not scaled."""
    assert _word(3.9, Goal("g", "a goal", 2.0, " ms", scale="machine"), scale=2.0) == "met"
    assert _word(3.9, scale=2.0) == "broken"


def test_the_worst_place_is_named() -> None:
    """A verdict says where it was worst, and in how many places the goal is met."""
    (verdict,) = judge({"g": {"here": 1.0, "there": 3.0}}, {}, (_GOAL,), {})
    assert (verdict.place, verdict.worst, verdict.met) == ("there", 3.0, 1)


def test_what_is_known_is_a_goal_and_weaker_than_it() -> None:
    """Each exception belongs to a goal, gives a reason, and allows more than the goal does."""
    goals = {goal.name: goal for goal in GOALS}
    assert len(goals) == len(GOALS)
    for name, known in KNOWN.items():
        assert known.limit > goals[name].limit
        assert known.reason.endswith(".")


def test_a_fleet_comes_out_the_same_each_time() -> None:
    """The same seed gives the same outcome, another another, and the caller's random numbers are left alone."""
    random.seed(7)
    expected = random.random()  # noqa: S311 - whose state is looked at
    random.seed(7)
    first, again = simulate(_SMALL, RetryPolicy(), 3), simulate(_SMALL, RetryPolicy(), 3)
    assert random.random() == expected  # noqa: S311 - the same
    assert first == again
    assert first != simulate(_SMALL, RetryPolicy(), 4)


def test_a_server_with_room_refuses_nobody() -> None:
    """Where the server is fast enough, each request is made once and every pod is ready after one answer."""
    outcome = simulate(Fleet(pods=50, within=10.0), RetryPolicy())
    assert (outcome.requests, outcome.restarts) == (100, 0)
    assert outcome.waits == pytest.approx([0.05] * 50)


@pytest.mark.parametrize("advice", ["none", "3", "backlog"])
@pytest.mark.parametrize("policy", [RetryPolicy(), FixedWait(), Exponential()])
def test_no_fleet_beats_the_floor_or_the_queue(advice: str, policy: RetryPolicy | FixedWait | Exponential) -> None:
    """Every pod gets ready, after no fewer requests than the floor, the last one no sooner than the queue's last."""
    fleet = Fleet(pods=500, within=0.5, advice=advice)
    outcome = simulate(fleet, policy)
    assert len(outcome.waits) == fleet.pods
    assert outcome.requests >= floor(fleet) * fleet.needed
    assert max(outcome.waits) >= max(ideal(fleet).waits) - fleet.within


def test_the_ideal_queue_serves_at_the_servers_rate() -> None:
    """The last of many pods waits for all the requests before its own."""
    assert max(ideal(Fleet(pods=1000, within=0.0)).waits) == pytest.approx(2 * 1000 / 200 - 0.1 + 0.05)


def test_a_pod_that_used_up_its_retries_begins_again() -> None:
    """A pod without retries whose request is refused is restarted after 10 s, and asks for everything again."""
    outcome = simulate(Fleet(pods=15, within=0.0), FixedWait(retries=0))
    assert outcome.restarts == 5
    assert outcome.requests == 20 + 5 + 10
    assert outcome.waits[-1] == pytest.approx(10.05)


def test_ratios_are_of_pairs() -> None:
    """A ratio is the median of the rounds' ratios, not the ratio of the medians."""
    measurement = Measurement("m", "")
    for one, two in ((1.0, 2.0), (9.0, 3.0), (4.0, 4.0)):
        measurement.add({"one": one, "two": two})
    assert measurement.ratio("one", "two") == 1.0
    assert measurement.excess("one", "two") == 0.0


def test_each_round_begins_with_another() -> None:
    """Every action runs once in a round, and none is always the first."""
    order: list[str] = []

    def action(name: str) -> dict[str, float]:
        order.append(name)
        return {name: 1.0}

    Measurement("m", "").run({name: lambda name=name: action(name) for name in "abc"}, 3)  # type: ignore[misc]  # mypy sees no type in a default
    assert "".join(order) == "abc" + "bca" + "cab"


def test_a_lane_delays_and_paces() -> None:
    """What is sent at once arrives one after the other at the lane's rate; after a pause only the delay is left."""
    lane = Lane(Link(delay=0.025, rate=1000.0))
    assert [lane.arrival(0.0, 100), lane.arrival(0.0, 100), lane.arrival(5.0, 100)] == pytest.approx(
        [0.125, 0.225, 5.125]
    )


def test_phases_of_a_script_may_overlap() -> None:
    """Each phase is from its begin to its end, sorted by its begin, counted from the start of the process."""
    lines = "script begin 10.5\nclone begin 10.0\nscript end 11\nclone end 12\n"
    assert phases_of_script(lines, 9.0) == [Phase("clone", 1.0, 3.0), Phase("script", 1.5, 2.0)]


def test_a_tally_without_a_ready_run_has_no_median() -> None:
    """Only runs that did the work have a time."""
    assert Tally(failed=3).median is None
    assert Tally(ready=[1.0, 2.0, 3.0]).median == 2.0


def test_a_page_is_filled_between_its_markers() -> None:
    r"""What was there before is replaced, a backslash is only that, and the rest of the page stays."""
    page = "a\n<!-- x -->\nold\n<!-- end of x -->\nb\n"
    assert fill(page, "x", r"new \1") == "a\n<!-- x -->\nnew \\1\n<!-- end of x -->\nb\n"
    with pytest.raises(ValueError, match="0 places for y"):
        fill(page, "y", "")
