"""Secrets are never shown, in whatever pieces and forms they arrive."""

from __future__ import annotations

import base64
import re
from itertools import pairwise
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kerutaprep.masking import MASK, LineSplitter, Masker

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECRET = "s3cret/t0ken+é"
_ASCII_SECRET = "s3cret/t0ken+e"
_LONG = 64 * 1024
"""About where a line that never ends is given in pieces."""


def _lines(pieces: Iterable[bytes], *secrets: str) -> list[str]:
    lines: list[str] = []
    splitter = LineSplitter(Masker(secrets), lines.append)
    for piece in pieces:
        splitter.feed(piece)
    splitter.close()
    return lines


def _cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    borders = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(borders)]


_PLACES = st.lists(st.integers(min_value=0, max_value=2**20), max_size=12)
_OUTPUT = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"\r\n", b"\xc3\xa9", b"\xff", b" "]), max_size=20)


@given(_OUTPUT.map(b"".join), _PLACES)
def test_lines_do_not_depend_on_the_reads(data: bytes, places: list[int]) -> None:
    """LF, CR and CRLF end a line wherever the reads cut the output."""
    expected = [line.decode(errors="replace") for line in re.split(rb"\r\n|\r|\n", data)]
    assert _lines(_cut(data, places)) == (expected if expected[-1] else expected[:-1])


@given(st.text("ab \n\r", max_size=20), st.text("ab \n\r", max_size=20), _PLACES)
def test_a_secret_is_masked_wherever_the_reads_cut_it(before: str, after: str, places: list[int]) -> None:
    """A secret that several reads bring is shown as three stars."""
    shown = "\n".join(_lines(_cut(f"{before}{_SECRET}{after}".encode(), places), _SECRET))
    assert shown.count(MASK) == 1
    assert _SECRET not in shown


@settings(deadline=None, max_examples=50)
@given(st.integers(min_value=_LONG - 80, max_value=_LONG + 80), st.integers(min_value=0, max_value=80), _PLACES)
def test_a_secret_in_a_very_long_line_is_masked(before: int, between: int, places: list[int]) -> None:
    """A line too long to keep is given in pieces, none of which begins or ends inside a secret."""
    line = "x" * before + _ASCII_SECRET + "y" * between + _ASCII_SECRET + "z" * _LONG
    pieces = _lines(_cut(line.encode(), [*places, *(before + place for place in places)]), _ASCII_SECRET)
    assert len(pieces) > 1
    assert "".join(pieces) == line.replace(_ASCII_SECRET, MASK)


def test_a_very_long_line_without_secrets_is_given_whole() -> None:
    """Nothing of a long line is lost where there is nothing to mask."""
    line = "x" * (3 * _LONG + 1)
    assert "".join(_lines(_cut(line.encode(), range(0, len(line), 1000)))) == line


def test_nothing_is_said_of_nothing() -> None:
    """An output without a byte has no line."""
    assert _lines([b"", b""], _SECRET) == []


@pytest.mark.parametrize(
    "form",
    [_SECRET, quote(_SECRET, safe=""), base64.b64encode(_SECRET.encode()).decode()],
    ids=["plain", "percent-encoded", "Base64"],
)
def test_every_form_of_a_secret_is_masked(form: str) -> None:
    """A secret is masked as it is, percent-encoded as in a URL, and in Base64."""
    assert Masker([_SECRET]).mask(f"curl 'http://x/?t={form}' {form}") == f"curl 'http://x/?t={MASK}' {MASK}"


def test_a_login_is_masked_as_basic_authentication_sends_it() -> None:
    """The header of basic authentication shows neither a password nor its encoded form."""
    masker = Masker()
    masker.add_login("user", _SECRET)
    encoded = base64.b64encode(f"user:{_SECRET}".encode()).decode()
    assert masker.mask(f"Authorization: Basic {encoded} of {_SECRET}") == f"Authorization: Basic {MASK} of {MASK}"


def test_each_line_of_a_secret_of_several_is_masked() -> None:
    """A private key is masked line by line, as it is printed."""
    key = "-----BEGIN KEY-----\nMIIEowIBAAKC\n-----END KEY-----\n"
    assert _lines([key.encode()], key) == [MASK, MASK, MASK]


@given(st.lists(st.text("ab", min_size=3, max_size=6), min_size=1, max_size=4), st.text("abc", max_size=30))
def test_secrets_may_hold_one_another(secrets: list[str], text: str) -> None:
    """Of secrets that begin alike or hold one another, none is left in the text."""
    masked = Masker(secrets).mask(text)
    assert not any(secret in masked for secret in secrets)


@pytest.mark.parametrize("secret", ["", "ab", "  \n"])
def test_what_is_too_short_is_no_secret(secret: str) -> None:
    """An empty secret, or one of two characters, leaves the text readable."""
    masker = Masker([secret])
    masker.add_login("user", "")
    assert masker.mask("abababab is user") == "abababab is user"
    assert masker.longest == 0


def test_line_ends_around_a_secret_do_not_hide_it() -> None:
    """A secret from a file that ends in a line end is masked without it."""
    assert Masker([f"{_SECRET}\n"]).mask(f"<{_SECRET}>") == f"<{MASK}>"
