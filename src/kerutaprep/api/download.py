"""A URL into a file: streamed, resumed where the server can, whole or not at all."""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import re
import shutil
import zlib
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import aiofiles
import aiohttp
import anyio.to_thread

from kerutaprep.errors import ProtocolError, TransportError
from kerutaprep.retry import retrying
from kerutaprep.workspace import disk_errors

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection
    from pathlib import Path

    from aiofiles.threadpool.binary import AsyncFileIO

    from kerutaprep.api.client import KerutaAPI
    from kerutaprep.events import StepRecord
    from kerutaprep.retry import RetryPolicy

_CHUNK = 1024 * 1024
_DIGESTS = {"sha-256": "sha256", "sha-512": "sha512"}
_DIGEST_ITEM = re.compile(r"\s*([a-z0-9-]+)=:([A-Za-z0-9+/=]*):\s*")


class ContentRange(NamedTuple):
    """Which bytes an answer holds, from its ``Content-Range`` (RFC 9110, 14.4)."""

    first: int
    last: int
    total: int | None

    @classmethod
    def parse(cls, value: str) -> ContentRange | None:
        """Read the field; None where it is no satisfied range of bytes."""
        found = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", value.strip())
        if not found:
            return None
        first, last = int(found[1]), int(found[2])
        total = None if found[3] == "*" else int(found[3])
        if last < first or (total is not None and last >= total):
            return None
        return cls(first, last, total)


def parse_digests(value: str) -> dict[str, bytes]:
    """The checkable digests of a ``Content-Digest`` or ``Repr-Digest`` field (RFC 9530), by hashlib's name."""
    digests = {}
    for item in value.split(","):
        found = _DIGEST_ITEM.fullmatch(item)
        if found and found[1] in _DIGESTS:
            try:
                digests[_DIGESTS[found[1]]] = base64.b64decode(found[2], validate=True)
            except binascii.Error:
                continue
    return digests


class Download:
    """One body on its way into a part file; knows between attempts how far it came.

    Args:
        api: where from.
        path: below the API's URL.
        part: the file to write; exists afterwards only if something was received, whole only after success.
        what: what it is, for messages.
        record: the step's record, told of every byte.
        ready: awaited before the part file is made.
    """

    def __init__(  # noqa: PLR0913 - its parts are independent, and all it does is to join them
        self,
        api: KerutaAPI,
        path: str,
        part: Callable[[], Path],
        *,
        what: str,
        record: StepRecord,
        ready: Callable[[], Awaitable[object]],
    ) -> None:
        self._api = api
        self._path = path
        self._part = part
        self._what = what
        self._record = record
        self._ready = ready
        self._have = 0
        self._etag: str | None = None
        self._length: int | None = None
        self._received = 0
        self.content_type = ""

    @property
    def fraction(self) -> float | None:
        """How much of the body was received, from 0 to 1; None where its length is not known."""
        if self._length is None:
            return None
        return self._received / self._length if self._length else 1.0

    async def run(self, policy: RetryPolicy) -> Path | None:
        """Download, with retries.

        Returns:
            the part file, whole and checked; None where the server answered that there is no content (204).

        Raises:
            TransportError: all attempts failed.
            ProtocolError: a digest does not match, or an answer makes no sense.
            WorkDirError: the disk refuses.
        """
        part = await retrying(self._attempt, policy, self._record)
        self._length = self._received
        return part

    async def _attempt(self, _number: int) -> Path | None:
        headers = {"Range": f"bytes={self._have}-", "If-Range": self._etag} if self._have and self._etag else {}
        expected: Collection[int] = (200, 204, 206, 416) if headers else (200, 204)
        async with self._api.get(
            self._path, what=self._what, step=self._record.name, expected=expected, headers=headers
        ) as response:
            if response.status == 204:
                return None
            offset = self._offset_of(response)
            self._received = offset
            self._length = None if response.content_length is None else offset + response.content_length
            await self._ready()
            part = self._part()
            with anyio.CancelScope(shield=True), disk_errors("making", part):
                file = await aiofiles.open(part, "ab" if offset else "wb", buffering=0)  # what is written is large
            try:
                await self._receive(response, file)
            finally:
                with anyio.CancelScope(shield=True), disk_errors("writing", part):
                    await file.close()
        self._check_length(response, offset)
        await self._check_digests(response, part, offset)
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            await anyio.to_thread.run_sync(_decode, part, encoding, self._what)
        return part

    def _offset_of(self, response: aiohttp.ClientResponse) -> int:
        """Where the body goes on; a server that can't resume, or has something else by now, makes it start over."""
        if response.status == 206:
            sent = ContentRange.parse(response.headers.get("Content-Range", ""))
            if sent is not None and sent.first == self._have:
                return self._have
        have, self._have = self._have, 0
        if response.status != 200:
            self._etag = None
            raise TransportError(f"{self._what}: HTTP {response.status} to a request to go on at byte {have}")
        etag = response.headers.get("ETag", "")
        self._etag = etag if etag.startswith('"') else None  # a weak one (W/) does not promise the same bytes
        self.content_type = response.content_type
        return 0

    async def _receive(self, response: aiohttp.ClientResponse, file: AsyncFileIO) -> None:
        pending: list[bytes] = []
        size = 0

        async def flush() -> None:
            # Joined once: to let a buffer grow would copy every byte twice.
            with disk_errors("writing", self._part()):
                await _write_whole(file, b"".join(pending))
            self._have += size
            pending.clear()

        try:
            async for data in response.content.iter_any():
                pending.append(data)
                size += len(data)
                self._received += len(data)
                self._record.received(len(data))
                if size >= _CHUNK:
                    await flush()
                    size = 0
        except (aiohttp.ClientError, TimeoutError, ConnectionError):
            await flush()  # what came is kept for the next attempt to go on from
            raise
        await flush()

    def _check_length(self, response: aiohttp.ClientResponse, offset: int) -> None:
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and self._have - offset != int(length):
            raise TransportError(f"{self._what}: {self._have - offset} of {length} bytes were received")
        sent = ContentRange.parse(response.headers.get("Content-Range", "")) if offset else None
        if sent is not None and sent.total is not None and self._have != sent.total:
            raise TransportError(f"{self._what}: {self._have} of {sent.total} bytes were received")

    async def _check_digests(self, response: aiohttp.ClientResponse, part: Path, offset: int) -> None:
        for field, first in (("Content-Digest", offset), ("Repr-Digest", 0)):
            for algorithm, expected in parse_digests(",".join(response.headers.getall(field, ()))).items():
                actual = await anyio.to_thread.run_sync(file_digest, part, algorithm, first)
                if actual != expected:
                    raise ProtocolError(
                        f"{self._what}: its {algorithm} is {actual.hex()}, but {field} says {expected.hex()}"
                    )


async def _write_whole(file: AsyncFileIO, data: bytes) -> None:
    """Write all of it: an unbuffered file may take a part at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[await file.write(rest) :]


def file_digest(path: Path, algorithm: str, first: int = 0) -> bytes:
    """The digest of a file from byte ``first`` to its end; for a thread that may block."""
    with disk_errors("reading", path), path.open("rb") as file:
        file.seek(first)
        return hashlib.file_digest(file, algorithm).digest()


def _decode(path: Path, encoding: str, what: str) -> None:
    """Undo a content coding that the server applied although none was asked for."""
    if encoding not in {"gzip", "x-gzip", "deflate"}:
        raise ProtocolError(f"{what}: the server sent it as {encoding!a}, which was not asked for")
    decoded = path.with_name(f"{path.name}.decoded")
    with disk_errors("decoding", path), path.open("rb") as source, decoded.open("wb") as target:
        try:
            if "gzip" in encoding:
                with gzip.GzipFile(fileobj=source) as members:
                    shutil.copyfileobj(members, target, _CHUNK)
            else:
                _inflate(source, target)
        except (zlib.error, EOFError, gzip.BadGzipFile) as error:
            raise ProtocolError(f"{what}: its {encoding} coding is broken") from error
    decoded.replace(path)


def _inflate(source: BinaryIO, target: BinaryIO) -> None:
    decoder = zlib.decompressobj()
    while data := source.read(_CHUNK):
        target.write(decoder.decompress(data))
    target.write(decoder.flush())
    if not decoder.eof or decoder.unused_data:
        raise EOFError
