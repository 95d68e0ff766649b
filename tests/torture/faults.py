"""Runs through a network that fails: each succeeds, or ends as the contract says, and the next one succeeds."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import anyio
import anyio.to_thread
from aiohttp import web

from kerutaprep.embedded import Content, api_application, git_application, serve
from tests.fakes import Fakes, status
from tests.torture.kills import Outcome
from tests.torture.proxy import Fault, Proxy, open_proxy
from tests.torture.scene import SCRIPT

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.torture.scene import Run, Scene

_DRAWS = 6
_LONGEST = 75.0
"""Seconds in which a run must end whatever happens: five attempts, their waits and time-outs."""
_SCALES = (300, 3_000, 200_000, 700_000)
"""Lengths of answers: heads, small ones, documents and packs."""
_PATHS = {"api": ("/script", "/content", "/repositories/shop"), "git": ("/info/refs", "POST")}
_RETRIES = 4
_EXISTING, _FOR_EVER, _RESUMABLE = 0.3, 0.25, 0.5
"""The parts of the cases with an existing clone, with a fault that does not end, and with a server that resumes."""


class Network(NamedTuple):
    """Servers of a case's own, behind proxies of its own."""

    api: Proxy
    git: Proxy
    api_fakes: Fakes
    git_fakes: Fakes

    def heal(self) -> None:
        """Let nothing fail any more."""
        for proxy in (self.api, self.git):
            proxy.heal()
        for fakes in (self.api_fakes, self.git_fakes):
            fakes._faults.clear()

    @property
    def fired(self) -> int:
        """How often something failed."""
        answered = sum("torture" in request for fakes in self[2:] for request in fakes.requests)
        return self.api.fired + self.git.fired + answered


class Expectation(NamedTuple):
    """What a case has done to the network, and how a run may end."""

    codes: frozenset[int]
    retries: int = _RETRIES
    opened_after: float | None = None
    """Seconds for which connections are refused."""
    least_seconds: float = 0.0


Inflict = Callable[[Network, "random.Random", int], Expectation]
"""Makes the network fail; told how often this case was drawn already, without anything that came to happen."""


class FaultCase(NamedTuple):
    """One kind of failure."""

    name: str
    inflict: Inflict


def _connections(kind: Literal["reset", "close", "stall", "drip", "garbage"], *codes: int) -> Inflict:
    """Some connections to one server or both meet a fault, or all do."""

    def inflict(network: Network, rng: random.Random, draw: int) -> Expectation:
        fronts = rng.choice([(network.api,), (network.git,), (network.api, network.git)])
        for_ever = rng.random() < _FOR_EVER
        scales = _SCALES[:1] if draw > _DRAWS // 2 else _SCALES
        for front in fronts:
            noise = rng.randbytes(rng.randrange(1, 2000))
            at = [0 if kind == "garbage" else rng.randrange(rng.choice(scales)) for _ in range(_RETRIES)]
            front.faults.extend(Fault(kind, place, noise) for place in at[: rng.randint(1, _RETRIES)])
            front.always = Fault(kind, at[0], noise) if for_ever else None
        ends_well = kind == "drip" or (not for_ever and 76 not in codes)
        return Expectation(frozenset({0} if ends_well else {0, *codes}), retries=1 if for_ever else _RETRIES)

    return inflict


def _refused(_network: Network, rng: random.Random, _draw: int) -> Expectation:
    return Expectation(frozenset({0, 75}), opened_after=rng.uniform(0.3, 4))


def _busy(network: Network, rng: random.Random, _draw: int) -> Expectation:
    """Answer 503 or 429, with Retry-After in either form."""
    front = rng.choice(["api", "git"])
    fakes = network.api_fakes if front == "api" else network.git_fakes
    path = rng.choice(_PATHS[front])
    after = "1" if rng.random() < 0.5 else formatdate(time.time() + 3, usegmt=True)
    for_ever = rng.random() < _FOR_EVER
    refusal = status(rng.choice([429, 503]), {"Retry-After": after})

    async def answer(request: web.Request) -> web.StreamResponse | None:
        if path == "POST" and request.method != "POST":
            return None
        request["torture"] = 1
        return await refusal(request)

    # A POST to git is preceded by GETs, which are let through.
    fakes.on("" if path == "POST" else path, *([answer] * (1000 if for_ever else rng.randint(1, 2))))
    seconds = 0.9 if front == "api" and after == "1" else 0.0
    return Expectation(frozenset({75} if for_ever else {0}), retries=1 if for_ever else _RETRIES, least_seconds=seconds)


def _corrupt(network: Network, rng: random.Random, _draw: int) -> Expectation:
    network.api.always = Fault("flip", rng.randrange(min(map(len, DOCUMENTS.values()))))
    return Expectation(frozenset({76}))


CASES = (
    FaultCase("refused at first", _refused),
    FaultCase("reset at a byte", _connections("reset", 75)),
    FaultCase("closed at a byte", _connections("close", 75)),
    FaultCase("stalled at a byte", _connections("stall", 75)),
    FaultCase("slow drip", _connections("drip", 75)),
    FaultCase("503 or 429 with Retry-After", _busy),
    FaultCase("garbage for an answer", _connections("garbage", 75, 76)),
    FaultCase("a byte of a document corrupted", _corrupt),
)

DOCUMENTS: Mapping[str, bytes] = {"task-1": b"# The task\n" * 300, "large": bytes(range(256)) * 1500}
"""The documents of these cases."""
MakeScene = Callable[[str, str], "Scene"]
"""Makes a scene for the URLs of an API and a repository."""


async def fault_case(served: Path, make_scene: MakeScene, case: FaultCase, rng: random.Random) -> Outcome:
    """Run through a failing network, then plainly; draw again where nothing came to happen."""
    for draw in range(_DRAWS):
        opened = case.inflict is not _refused
        async with _network(served, listening=opened, resumable=rng.random() < _RESUMABLE) as (network, content):
            expectation = case.inflict(network, rng, draw)
            scene = make_scene(network.api.url, f"{network.git.url}/shop.git")
            content.repositories["shop"] = {"url": scene.repository_url}
            if rng.random() < 0.5:
                scene.arguments += ("--repository-url", scene.repository_url)
            if rng.random() < _EXISTING:
                await anyio.to_thread.run_sync(scene.use_clone)
            ended = await _run_through(network, scene, expectation)
            if opened and not network.fired and draw < _DRAWS - 1:
                await anyio.to_thread.run_sync(shutil.rmtree, scene.directory)
                continue
            network.heal()
            problems = [*_wrong_end(ended, expectation), *await _wrong_state(scene, ended)]
            problems += [f"then: {problem}" for problem in await scene.recover()]
            if problems:
                problems.append(f"stderr: {ended.stderr[-1500:]}")
            return Outcome(problems, f"exit {ended.code}")
    return Outcome(["nothing was drawn"])


async def _run_through(network: Network, scene: Scene, expectation: Expectation) -> Run:
    async def open_later() -> None:
        await anyio.sleep(expectation.opened_after or 0.0)
        await network.api.listen()
        await network.git.listen()

    ended: list[Run] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(open_later)
        ended.append(await scene.run("--retries", str(expectation.retries), "--read-timeout", "1"))
    return ended[0]


def _wrong_end(ended: Run, expectation: Expectation) -> list[str]:
    problems = []
    if ended.code not in expectation.codes:
        problems.append(f"it ended with {ended.code}, and not with one of {sorted(expectation.codes)}")
    if not expectation.least_seconds <= ended.seconds <= _LONGEST:
        problems.append(f"it took {ended.seconds:.1f} s")
    return problems


async def _wrong_state(scene: Scene, ended: Run) -> list[str]:
    if ended.code == 0:
        return await scene.problems()
    return await anyio.to_thread.run_sync(lambda: [*scene.problems_of_failure(ended), *scene.left_parts()])


@asynccontextmanager
async def _network(served: Path, *, listening: bool, resumable: bool) -> AsyncIterator[tuple[Network, Content]]:
    content = Content(scripts={"shop": SCRIPT}, documents=dict(DOCUMENTS))
    api, git = Fakes(), Fakes()
    extra = [_resume] if resumable else []
    async with (
        serve(api_application(content, api.middleware, _with_digest, *extra)) as api_url,
        serve(git_application(served, git.middleware)) as git_url,
        open_proxy(api_url, listening=listening) as api_proxy,
        open_proxy(git_url, listening=listening) as git_proxy,
    ):
        yield Network(api_proxy, git_proxy, api, git), content


def _digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


@web.middleware
async def _with_digest(request: web.Request, handler: Any) -> web.StreamResponse:
    """Send the digest of a whole document."""
    response: web.StreamResponse = await handler(request)
    if request.path.endswith("/content"):
        name = request.path.split("/")[-2]
        response.headers["Repr-Digest"] = _digest(DOCUMENTS[name])
    return response


@web.middleware
async def _resume(request: web.Request, handler: Any) -> web.StreamResponse:
    """Go on where a client was cut off (RFC 9110, 14)."""
    response: web.StreamResponse = await handler(request)
    if not request.path.endswith("/content") or not isinstance(response, web.Response):
        return response
    assert isinstance(response.body, bytes)
    etag = f'"{hashlib.sha256(response.body).hexdigest()[:12]}"'
    response.headers["ETag"] = etag
    asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
    if not asked or request.headers.get("If-Range") != etag:
        return response
    first, total = int(asked[1]), len(response.body)
    if first >= total:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{total}"})
    headers = {"ETag": etag, "Content-Range": f"bytes {first}-{total - 1}/{total}"}
    return web.Response(status=206, body=response.body[first:], headers=headers)
