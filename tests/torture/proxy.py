"""A TCP proxy that does to a connection what networks do: it refuses, resets, closes, stalls, drips and garbles."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_CHUNK = 64 * 1024
_LONGEST_STALL = 30.0
_DRIPS, _DRIP, _DRIP_PAUSE = 40, 3, 0.01
_LINGER_NOT = struct.pack("ii", 1, 0)
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True)
class Fault:
    """What happens to one connection."""

    kind: Literal["reset", "close", "stall", "drip", "garbage", "flip"]
    at: int = 0
    """The byte of what the server sends at which it happens; for ``flip`` the byte of a body with ``Repr-Digest``."""
    noise: bytes = b""
    """What is sent in place of the answer, for ``garbage``."""


@dataclass
class Proxy:
    """Stands before one server; its URL is the server's but for the port."""

    server: tuple[str, int]
    listener: socket.socket
    faults: deque[Fault] = field(default_factory=deque)
    """One for each of the next connections."""
    always: Fault | None = None
    """For each connection after those."""
    fired: int = 0
    """How many faults came to happen: a connection may end before its byte."""
    _tasks: set[asyncio.Task[object]] = field(default_factory=set)
    _started: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it listens, or will."""
        host, port = self.listener.getsockname()
        return f"http://{host}:{port}"

    def heal(self) -> None:
        """From now on pass everything on."""
        self.faults.clear()
        self.always = None

    async def listen(self) -> None:
        """Accept connections; until then they are refused."""
        if self._started is None:
            self._started = await asyncio.start_server(self._serve, sock=self.listener)

    async def stop(self) -> None:
        """Drop the listener and every connection."""
        if self._started is not None:
            self._started.close()
        self.listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        fault = self.faults.popleft() if self.faults else self.always
        server_reader, server_writer = await asyncio.open_connection(*self.server)
        requests = asyncio.create_task(_forward(reader, server_writer))
        try:
            with suppress(OSError, asyncio.CancelledError):  # nobody but ``stop`` cancels it
                await self._answer(server_reader, writer, fault, requests)
        finally:
            requests.cancel()
            server_writer.transport.abort()
            writer.close()

    async def _answer(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        fault: Fault | None,
        requests: asyncio.Task[None],
    ) -> None:
        """Pass on what the server sends, up to the fault's place."""
        seen = bytearray()
        passed = 0
        while data := await reader.read(_CHUNK):
            if fault is None:
                writer.write(data)
                await writer.drain()
                continue
            seen += data
            place = _place(fault, seen)
            if place is None or place >= len(seen):
                writer.write(data)
                await writer.drain()
                passed = len(seen)
                continue
            self.fired += 1
            writer.write(bytes(seen[passed:place]))
            await writer.drain()
            rest = await _happen(fault, bytes(seen[place:]), writer, requests)
            if rest is None:
                return
            writer.write(rest)
            await writer.drain()
            fault = None


def _place(fault: Fault, seen: bytearray) -> int | None:
    """Where in the connection's bytes the fault happens; None where that is not known, or nowhere."""
    if fault.kind != "flip":
        return fault.at
    head, end, _ = bytes(seen).partition(_HEAD_END)
    return len(head) + len(end) + fault.at if end and b"repr-digest:" in head.lower() else None


async def _happen(
    fault: Fault, rest: bytes, writer: asyncio.StreamWriter, requests: asyncio.Task[None]
) -> bytes | None:
    """Do it, and give what is to follow; None where the connection ends with it."""
    match fault.kind:
        case "reset":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            writer.transport.abort()
        case "stall":
            with anyio.move_on_after(_LONGEST_STALL):
                await asyncio.wait([requests])  # until the client has had enough
        case "garbage":
            writer.write(fault.noise)
            await writer.drain()
        case "flip":
            return bytes([rest[0] ^ 1]) + rest[1:]
        case "drip":
            for start in range(0, min(_DRIPS * _DRIP, len(rest)), _DRIP):
                writer.write(rest[start : start + _DRIP])
                await writer.drain()
                await anyio.sleep(_DRIP_PAUSE)
            return rest[_DRIPS * _DRIP :]
    return None


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def open_proxy(url: str, *, listening: bool = True) -> AsyncIterator[Proxy]:
    """Stand before the server at ``url``; not ``listening``, the port is taken and refuses connections."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    proxy = Proxy((parts.hostname, parts.port), listener)
    try:
        if listening:
            await proxy.listen()
        yield proxy
    finally:
        await proxy.stop()
