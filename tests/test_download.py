"""Bodies into files: resumed, checked, whole or not at all."""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from kerutaprep import ProtocolError, TransportError, WorkDirError, prepare
from kerutaprep.api.download import ContentRange, parse_digests
from tests.fakes import Fault, Stage, body, status, truncated

if TYPE_CHECKING:
    from collections.abc import Mapping

_BIG = bytes(range(256)) * 20_000  # several reads and writes
_HALF = len(_BIG) // 2


def _digest(content: bytes) -> str:
    return f"md5=:AAAA:, sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


def _ranged(content: bytes, seen: list[str], headers: Mapping[str, str] | None = None) -> Fault:
    """Answer a Range request as a server that supports it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(f"{request.headers.get('Range')} {request.headers.get('If-Range')}")
        first = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        content_range = {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}
        return web.Response(status=206, body=content[first:], headers={**content_range, **(headers or {})})

    return answer


@pytest.mark.anyio
async def test_a_cut_body_is_resumed(stage: Stage) -> None:
    """With a strong ETag the next attempt asks for the rest only, and both digests are checked."""
    seen: list[str] = []
    digests = {"Repr-Digest": _digest(_BIG)}
    stage.api.on("/content", truncated(_BIG, _HALF, {"ETag": '"v1"'}), _ranged(_BIG, seen, digests))
    await prepare(stage.settings())

    assert stage.keruta("README.md").read_bytes() == _BIG
    first = int(seen[0].split()[0].removeprefix("bytes=").removesuffix("-"))
    assert 0 < first <= _HALF
    assert seen[0].endswith(' "v1"')


@pytest.mark.anyio
async def test_a_parts_own_digest_covers_the_part(stage: Stage) -> None:
    """On a 206 the Content-Digest is that of the part, not of the whole."""

    async def rest(request: web.Request) -> web.StreamResponse:
        first = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        return await _ranged(_BIG, [], {"Content-Digest": _digest(_BIG[first:])})(request)  # type: ignore[return-value]  # it answers

    stage.api.on("/content", truncated(_BIG, _HALF, {"ETag": '"v1"'}), rest)
    await prepare(stage.settings())
    assert stage.keruta("README.md").read_bytes() == _BIG


@pytest.mark.anyio
@pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"v1"'}], ids=["no ETag", "weak ETag"])
async def test_without_a_strong_etag_it_starts_over(stage: Stage, headers: dict[str, str]) -> None:
    """Where the server promises nothing, the whole body is asked for again."""
    stage.api.on("/content", truncated(_BIG, _HALF, headers), body(_BIG))
    await prepare(stage.settings())

    assert "Range" not in stage.api.to("/content")[1].headers
    assert stage.keruta("README.md").read_bytes() == _BIG


@pytest.mark.anyio
@pytest.mark.parametrize(
    "second",
    [
        body(b"changed", headers={"ETag": '"v2"'}),
        status(416),
        status(206, {"Content-Range": "bytes 1-2/3"}, b"zz"),
        status(206, {"Content-Range": "nonsense"}, b"zz"),
    ],
    ids=["changed", "416", "another range", "no range"],
)
async def test_a_resume_that_fails_starts_over(stage: Stage, second: Fault) -> None:
    """A document that changed meanwhile, or a server that answers nonsense, never gives a mix of two."""
    stage.api.on("/content", truncated(_BIG, _HALF, {"ETag": '"v1"'}), second, body(b"changed"))
    await prepare(stage.settings(retries=3))
    assert stage.keruta("README.md").read_bytes() == b"changed"


@pytest.mark.anyio
@pytest.mark.parametrize("field", ["Content-Digest", "Repr-Digest"])
async def test_a_wrong_digest_is_an_error_at_once(stage: Stage, field: str) -> None:
    """A digest that does not match is the peer's mistake: no retry, no file."""
    stage.api.on("/content", body(b"right", headers={field: _digest(b"wrong")}))
    with pytest.raises(ProtocolError, match=field):
        await prepare(stage.settings())
    assert len(stage.api.to("/content")) == 1
    assert not stage.keruta("README.md").exists()


@pytest.mark.anyio
async def test_a_body_that_stays_short_is_a_transport_error(stage: Stage) -> None:
    """When every attempt is cut, no file has the final name."""
    stage.api.on("/content", *[truncated(_BIG, _HALF)] * 2)
    with pytest.raises(TransportError):
        await prepare(stage.settings())
    assert not stage.keruta("README.md").exists()
    assert list(stage.keruta("documents").iterdir()) == []


@pytest.mark.anyio
async def test_a_coding_nobody_asked_for_is_undone(stage: Stage) -> None:
    """A server that compresses all the same does not change the document."""
    packed = zlib.compressobj(wbits=31)
    coded = packed.compress(_BIG) + packed.flush()
    stage.api.on("/content", body(coded, headers={"Content-Encoding": "gzip", "Content-Digest": _digest(coded)}))
    await prepare(stage.settings())
    assert stage.keruta("README.md").read_bytes() == _BIG


@pytest.mark.anyio
async def test_a_coding_of_several_members_is_undone_whole(stage: Stage) -> None:
    """What follows the first member of a gzip body is not lost."""
    coded = gzip.compress(b"one\n") + gzip.compress(b"two\n")
    stage.api.on("/content", body(coded, headers={"Content-Encoding": "gzip"}))
    await prepare(stage.settings())
    assert stage.keruta("README.md").read_bytes() == b"one\ntwo\n"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("coding", "coded"),
    [
        ("gzip", gzip.compress(b"hello " * 1000)[:-12]),
        ("gzip", gzip.compress(b"hello") + b"garbage"),
        ("deflate", zlib.compress(b"hello " * 1000)[:-5]),
        ("deflate", zlib.compress(b"hello") + b"garbage"),
    ],
    ids=["gzip cut", "gzip and more", "deflate cut", "deflate and more"],
)
async def test_a_coding_that_is_cut_is_no_document(stage: Stage, coding: str, coded: bytes) -> None:
    """A coded body of the right length that does not end as it must is an error."""
    stage.api.on("/content", body(coded, headers={"Content-Encoding": coding}))
    with pytest.raises(ProtocolError, match=coding):
        await prepare(stage.settings())
    assert not stage.keruta("README.md").exists()


@pytest.mark.anyio
@pytest.mark.parametrize("coding", ["br", "gzip"])
async def test_a_broken_or_unknown_coding_is_an_error(stage: Stage, coding: str) -> None:
    """A coding that can't be undone is never taken for the document."""
    stage.api.on("/content", body(b"nonsense", headers={"Content-Encoding": coding}))
    with pytest.raises(ProtocolError, match=coding):
        await prepare(stage.settings())


@pytest.mark.anyio
async def test_a_directory_in_a_documents_place_is_in_the_way(stage: Stage) -> None:
    """What has a document's name and is no file ends the run with 74."""
    stage.keruta("README.md").mkdir(parents=True)
    with pytest.raises(WorkDirError, match="README"):
        await prepare(stage.settings())


@pytest.mark.anyio
async def test_any_bytes_are_kept(stage: Stage) -> None:
    """A document is kept byte for byte, an empty one too; the first is README.md."""
    stage.content.documents |= {"binary": b"\x00\r\n\xff" * 1000, "empty": b""}
    await prepare(stage.settings(document_ids=["empty", "binary"]))
    assert stage.keruta("README.md").read_bytes() == b""
    assert stage.keruta("documents/binary").read_bytes() == b"\x00\r\n\xff" * 1000
    assert stage.keruta("documents/empty").read_bytes() == b""


@given(st.integers(0, 10**17), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_content_range_is_read_as_written(first: int, length: int, after: int) -> None:
    """Every satisfied range of bytes is understood."""
    last, total = first + length, first + length + 1 + after
    assert ContentRange.parse(f"bytes {first}-{last}/{total}") == (first, last, total)
    assert ContentRange.parse(f"bytes {first}-{last}/*") == (first, last, None)
    assert ContentRange.parse(f"bytes {last + 1}-{first}/*") is None


@given(st.text())
def test_foreign_fields_never_raise(value: str) -> None:
    """Whatever a server sends in Content-Range or a digest field, it is read or ignored."""
    parsed = ContentRange.parse(value)
    assert parsed is None or parsed.first <= parsed.last
    assert all(name in {"sha256", "sha512"} for name in parse_digests(value))
