"""A fleet: thousands of pods that start at once on an API that serves only so many requests a second.

It is simulated on a virtual clock, with the real retry policy: ``python -m benchmarks.fleet`` compares policies.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass, field, replace
from itertools import count
from statistics import quantiles
from typing import TYPE_CHECKING, Protocol

from kerutaprep.retry import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator

_LATENCY = 0.05
_BURST = 20
"""Requests that the server takes at once after a pause: a tenth of a second's."""
_REQUESTS = 2
"""Each pod's: script and document, at the same time, and both again where the pod is restarted."""
_RESTART, _LONGEST_RESTART = 10.0, 300.0
"""Seconds before kubelet restarts a failed container, doubled each time."""


class Policy(Protocol):
    """What is asked of a policy."""

    @property
    def retries(self) -> int:
        """Attempts after the first; then the pod fails, and kubelet restarts it."""

    def wait(self, attempt: int, retry_after: float | None) -> float:
        """Seconds to wait after a failed attempt (from 1)."""


@dataclass(frozen=True)
class FixedWait:
    """Waits the same each time, whatever the server says."""

    retries: int = 5
    seconds: float = 1.0

    def wait(self, _attempt: int, _retry_after: float | None) -> float:
        """Always the same."""
        return self.seconds


@dataclass(frozen=True)
class Exponential:
    """Ours without its jitter."""

    retries: int = 5

    def wait(self, attempt: int, retry_after: float | None) -> float:
        """Twice as long each time, or what the server asked for."""
        return min(20.0, 0.5 * 2.0 ** (attempt - 1)) if retry_after is None else min(retry_after, 60.0)


@dataclass(frozen=True)
class ProportionalJitter:
    """Ours, with a jitter of at least a share of what the server asked for."""

    retries: int = 5
    share: float = 0.5
    longest_asked: float = 60.0

    def wait(self, attempt: int, retry_after: float | None) -> float:
        """As ours, spread wider after a long ``Retry-After``."""
        asked = min(retry_after or 0.0, self.longest_asked)
        backoff = min(20.0, 0.5 * 2.0 ** (attempt - 1))
        return asked + random.uniform(0, max(backoff, asked * self.share))  # noqa: S311 - jitter


@dataclass(frozen=True)
class Fleet:
    """Who asks whom."""

    pods: int = 10_000
    within: float = 10.0
    """Seconds in which they all start."""
    rate: float = 200.0
    """Requests a second that the API serves; above it, it answers 503 at once."""
    advice: str = "none"
    """What ``Retry-After`` says: ``none``; a number of seconds; ``backlog``: when the server expects to have room."""

    @property
    def needed(self) -> int:
        """The requests that would do if each were served."""
        return self.pods * _REQUESTS

    def starts(self) -> list[float]:
        """When each pod starts."""
        draw = random.Random(1)  # noqa: S311 - a simulation
        return sorted(draw.uniform(0, self.within) for _ in range(self.pods))


class Server:
    """A token bucket, and what it tells those whom it turns away."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._tokens, self._at = float(_BURST), 0.0
        self._next_turn = 0.0

    def serve(self, now: float) -> bool:
        """Whether a request is served."""
        self._tokens = min(_BURST, self._tokens + (now - self._at) * self._fleet.rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def advise(self, now: float) -> float | None:
        """The ``Retry-After`` of a request that was not; ``backlog`` hands out turns, one after the other."""
        if self._fleet.advice == "none":
            return None
        if self._fleet.advice != "backlog":
            return float(self._fleet.advice)
        self._next_turn = max(self._next_turn, now) + 1 / self._fleet.rate
        return float(math.ceil(self._next_turn - now))


@dataclass(frozen=True)
class Outcome:
    """What became of a fleet."""

    waits: list[float]
    """Seconds from each pod's start until it was ready, sorted."""
    requests: int
    restarts: int

    def percentile(self, percent: int) -> float:
        """Seconds after which so many pods in a hundred were ready."""
        return quantiles(self.waits, n=100, method="inclusive")[percent - 1]


@dataclass
class _Pod:
    start: float
    life: int = 0
    missing: int = _REQUESTS
    ready: float = 0.0


@dataclass
class _Simulation:
    fleet: Fleet
    policy: Policy
    pods: list[_Pod]
    heap: list[tuple[float, int, int, int, int]] = field(default_factory=list)
    """When, a number that keeps equal times in order, which pod, which of its lives, which attempt."""
    numbers: Iterator[int] = field(default_factory=count)
    requests: int = 0
    restarts: int = 0

    def run(self) -> None:
        server = Server(self.fleet)
        for number, pod in enumerate(self.pods):
            self._begin(number, pod.start)
        while self.heap:
            now, _, number, life, attempt = heapq.heappop(self.heap)
            pod = self.pods[number]
            if life != pod.life:
                continue  # it failed meanwhile, and this request with it
            self.requests += 1
            if server.serve(now):
                pod.missing -= 1
                pod.ready = now + _LATENCY
            else:
                self._refused(number, now, attempt, server.advise(now))

    def _begin(self, number: int, now: float) -> None:
        for _ in range(_REQUESTS):
            self._ask(number, now, 1)

    def _ask(self, number: int, at: float, attempt: int) -> None:
        heapq.heappush(self.heap, (at, next(self.numbers), number, self.pods[number].life, attempt))

    def _refused(self, number: int, now: float, attempt: int, retry_after: float | None) -> None:
        pod = self.pods[number]
        if attempt <= self.policy.retries:
            self._ask(number, now + self.policy.wait(attempt, retry_after), attempt + 1)
            return
        pod.life, pod.missing = pod.life + 1, _REQUESTS
        self.restarts += 1
        self._begin(number, now + min(_LONGEST_RESTART, _RESTART * 2.0 ** (pod.life - 1)))


def simulate(fleet: Fleet, policy: Policy, seed: int = 1) -> Outcome:
    """Let a fleet start, and give what became of it; the same for the same seed.

    Args:
        fleet: the pods, and the API.
        policy: how each of them tries again; it draws from the module ``random``, whose state is put back.
        seed: of those draws.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        simulation = _Simulation(fleet, policy, [_Pod(start) for start in fleet.starts()])
        simulation.run()
    finally:
        random.setstate(state)
    waits = sorted(pod.ready - pod.start for pod in simulation.pods)
    return Outcome(waits, simulation.requests, simulation.restarts)


def ideal(fleet: Fleet) -> Outcome:
    """What a queue would do: the same server, never idle while somebody waits, and nobody is ever refused."""
    free, waits = -_BURST / fleet.rate, []
    for start in fleet.starts():
        free = max(free, start - _BURST / fleet.rate) + _REQUESTS / fleet.rate
        waits.append(max(free, start) + _LATENCY - start)
    return Outcome(sorted(waits), fleet.needed, 0)


def floor(fleet: Fleet) -> float:
    """Requests per needed request that no policy of waiting can beat: each refused first try is one too many."""
    server = Server(fleet)
    refused = sum(not server.serve(start) for start in fleet.starts() for _ in range(_REQUESTS))
    return 1 + refused / fleet.needed


ADVICE = ("none", "5", "30", "backlog")
POLICIES: dict[str, Policy] = {
    "ours": RetryPolicy(),
    "fixed 1 s": FixedWait(),
    "no jitter": Exponential(),
}
_VARIATIONS: dict[str, Policy] = {
    **POLICIES,
    **{f"{retries} retries": RetryPolicy(retries=retries) for retries in (8, 10)},
    "base 2 s": RetryPolicy(base=2.0),
    "asked up to 120 s": RetryPolicy(longest_asked=120.0),
    **{f"jitter {share} of Retry-After": ProportionalJitter(share=share) for share in (0.1, 0.25, 0.5, 1.0)},
    "jitter 0.5, 10 retries": ProportionalJitter(share=0.5, retries=10),
    "jitter 0.5, asked up to 120 s": ProportionalJitter(share=0.5, longest_asked=120.0),
}


def _compare(fleet: Fleet) -> None:
    queue = ideal(fleet)
    print(f"requests per needed: at least {floor(fleet):.2f}; ideal p50 {queue.percentile(50):.0f}", end="")
    print(f" p90 {queue.percentile(90):.0f} p99 {queue.percentile(99):.0f} s")
    print("| Retry-After | policy | requests per needed | p50 | p90 | p99 | p99 / ideal | restarts |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for advice in ADVICE:
        for name, policy in _VARIATIONS.items():
            outcome = simulate(replace(fleet, advice=advice), policy)
            figures = " | ".join(f"{outcome.percentile(percent):.0f}" for percent in (50, 90, 99))
            print(
                f"| {advice} | {name} | {outcome.requests / fleet.needed:.2f} | {figures} | "
                f"{outcome.percentile(99) / queue.percentile(99):.2f} | {outcome.restarts} |",
                flush=True,
            )


if __name__ == "__main__":
    _compare(Fleet())
