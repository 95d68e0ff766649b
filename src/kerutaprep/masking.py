"""Keeping secrets out of what is shown."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MASK = "***"
_SHORTEST = 3
"""Masking every occurrence of one or two characters would leave nothing to read."""
_LONGEST_LINE = 64 * 1024
"""Characters after which a line without an end is given in pieces."""


class Masker:
    """Replaces every secret it was told of, in each form that it commonly takes."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Mask this from now on, also percent-encoded and in Base64; of several lines, each one that is long enough."""
        lines = [secret, *(line for line in secret.splitlines() if len(line) > 8)]
        plain = {line.strip() for line in lines if len(line.strip()) >= _SHORTEST}
        encoded = {quote(line, safe="") for line in plain} | {_base64(line) for line in plain if len(line) > 8}
        if not (plain | encoded) <= self._forms:
            self._forms |= plain | encoded
            longest_first = sorted(self._forms, key=len, reverse=True)
            self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def add_login(self, username: str, password: str) -> None:
        """Mask a password, and the Base64 of ``user:password`` that basic authentication sends (RFC 7617)."""
        self.add(password)
        if password:
            self.add(_base64(f"{username}:{password}"))

    def mask(self, text: str) -> str:
        """The text with ``***`` for every secret."""
        return self._pattern.sub(MASK, text) if self._pattern else text

    @property
    def longest(self) -> int:
        """Characters of the longest form, 0 without any."""
        return max(map(len, self._forms), default=0)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode(errors="surrogateescape")).decode()


class LineSplitter:
    """Turns bytes as they are read into masked lines of text.

    A secret that two reads split is still masked, since only whole lines are looked at; a line that never ends is
    given in pieces whose borders no secret crosses.
    """

    def __init__(self, masker: Masker, sink: Callable[[str], None]) -> None:
        self._masker = masker
        self._sink = sink
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take what was read; CR and CRLF end a line as LF does."""
        *lines, self._rest = re.split(rb"\r\n|\n|\r(?!\Z)", self._rest + data)
        for line in lines:
            self._emit(line)
        while len(self._rest) > _LONGEST_LINE:
            self._break_line()

    def close(self) -> None:
        """Give what is left without a line end."""
        if self._rest:
            self._emit(self._rest.rstrip(b"\r"))
        self._rest = b""

    def _break_line(self) -> None:
        text = self._rest.decode(errors="replace")
        masked = self._masker.mask(text)
        keep = self._masker.longest
        self._rest = masked[len(masked) - keep :].encode() if keep else b""
        self._sink(masked[: len(masked) - keep])

    def _emit(self, line: bytes) -> None:
        self._sink(self._masker.mask(line.decode(errors="replace")))
