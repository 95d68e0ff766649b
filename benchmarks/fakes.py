"""The slow API and the git server, each a process of its own on loopback: ``python -m benchmarks.fakes api|git``."""

from __future__ import annotations

import json
import random
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from aiohttp import web

from benchmarks.content import DOCUMENT, DOCUMENT_ID, HUGE_ID, SCRIPT, TASK, WIDE, WIDE_ID, many_documents
from kerutaprep.embedded import Content, api_application, git_application, serve

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler


@dataclass(frozen=True)
class Behaviour:
    """How the API answers, from the moment it is told so."""

    latency: float = 0.0
    """Seconds before each answer."""
    jitter: float = 0.0
    """Seconds: up to this much is added at random."""
    unavailable: float = 0.0
    """The share of answers that are 503."""
    throttled: float = 0.0
    """The share of answers that are 429 with ``Retry-After``."""
    retry_after: int = 1
    seed: int = 0
    """Of what is random: the same draws for the same seed."""


class SlowAPI:
    """What is in front of the embedded API: delays, refusals, and a memory of when requests came."""

    def __init__(self, huge: Path) -> None:
        self._huge = huge
        self._behaviour = Behaviour()
        self._draw = random.Random(0)  # noqa: S311 - a fault's draw
        self._arrivals: list[float] = []

    def application(self) -> web.Application:
        """The API, and the two requests by which the benchmark rules it."""
        content = Content(scripts={TASK: SCRIPT}, documents={DOCUMENT_ID: DOCUMENT, WIDE_ID: WIDE, **many_documents()})
        return api_application(content, self._middleware)

    @web.middleware
    async def _middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path == "/benchmark/behaviour":
            self._behaviour = Behaviour(**await request.json())
            self._draw.seed(self._behaviour.seed)
            self._arrivals.clear()
            return web.Response(status=204)
        if request.path == "/benchmark/arrivals":
            return web.json_response(self._arrivals)
        self._arrivals.append(time.time())
        behaviour = self._behaviour
        refusal = self._refusal()
        await anyio.sleep(behaviour.latency + behaviour.jitter * self._draw.random())
        if refusal is not None:
            return refusal
        if request.path.endswith(f"/documents/{HUGE_ID}/content"):
            return web.FileResponse(self._huge)
        return await handler(request)

    def _refusal(self) -> web.Response | None:
        behaviour, drawn = self._behaviour, self._draw.random()
        if drawn < behaviour.unavailable:
            return web.Response(status=503)
        if drawn < behaviour.unavailable + behaviour.throttled:
            return web.Response(status=429, headers={"Retry-After": str(behaviour.retry_after)})
        return None


async def _serve(application: web.Application) -> None:
    async with serve(application) as url:
        print(json.dumps({"port": int(url.rpartition(":")[2])}), flush=True)
        await anyio.to_thread.run_sync(sys.stdin.read)  # until the benchmark closes it, or is gone


if __name__ == "__main__":
    kind, place = sys.argv[1], Path(sys.argv[2])
    anyio.run(_serve, SlowAPI(place).application() if kind == "api" else git_application(place))
