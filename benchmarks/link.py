"""A relay that makes a far server of a near one: ``python -m benchmarks.link JSON``.

It delays each direction, paces the bytes of each direction over all connections, and holds a connection's first bytes
back for one more round trip, as TCP's handshake would. It models no slow start and no loss.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass

_CHUNK = 64 * 1024
_BACKLOG = 64
"""Chunks under way in one direction of a connection."""


@dataclass(frozen=True)
class Link:
    """What is between a client and a server."""

    delay: float
    """Seconds for each direction."""
    rate: float
    """Bytes a second for each direction."""


class Lane:
    """One direction of a link: says when bytes that are sent now will have arrived."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._free = 0.0

    def arrival(self, now: float, size: int) -> float:
        """Put ``size`` bytes on the lane at ``now`` and give the time at which the last of them is there."""
        self._free = max(self._free, now) + size / self._link.rate
        return self._free + self._link.delay


async def relay(link: Link, port: int) -> asyncio.Server:
    """Listen on a free port of loopback and relay each connection to ``port`` there."""
    up, down = Lane(link), Lane(link)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened = asyncio.get_running_loop().time() + 2 * link.delay
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_carry(reader, far_writer, up, opened))
                tasks.create_task(_carry(far_reader, writer, down, opened))
        finally:
            writer.close()
            far_writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", 0, limit=_CHUNK)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lane: Lane, opened: float) -> None:
    chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_BACKLOG)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_deliver(chunks, writer))
        data = b"-"
        while data:
            try:
                data = await reader.read(_CHUNK)
            except ConnectionError:
                data = b""
            now = max(asyncio.get_running_loop().time(), opened)
            await chunks.put((lane.arrival(now, len(data)), data))


async def _deliver(chunks: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    """Write each chunk when it is due; an empty one is the end."""
    clock = asyncio.get_running_loop().time
    while True:
        due, data = await chunks.get()
        if (wait := due - clock()) > 0:
            await asyncio.sleep(wait)
        try:
            if not data:
                writer.write_eof()
                return
            writer.write(data)
            await writer.drain()
        except (ConnectionError, OSError):
            if not data:
                return  # else what follows is read and dropped, up to its end


async def _serve(link: Link, port: int) -> None:
    server = await relay(link, port)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await asyncio.to_thread(sys.stdin.read)  # until the benchmark closes it, or is gone


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    asyncio.run(_serve(Link(given["delay"], given["rate"]), given["port"]))
