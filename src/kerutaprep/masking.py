"""Keeping secrets out of what is shown."""

from __future__ import annotations

import binascii
import codecs
import re
from urllib.parse import parse_qsl, quote, unquote

TYPE_CHECKING = False  # typing is not imported before git is on its way
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MASK = "***"
_SECRET_NAMES = (
    *("token", "password", "passwd", "secret", "passphrase"),
    *("api_key", "access_key", "private_key"),
)
_OTLP = "OTEL_EXPORTER_OTLP_"
SHORTEST_FOREIGN = 8
"""Characters of what may be a secret of somebody else's; it may also be a word like ``none``."""
_SHORTEST = 3
"""Masking every occurrence of one or two characters would leave nothing to read."""
_LONGEST_LINE = 64 * 1024
"""Characters after which a line without an end is given in pieces."""


def is_secret(variable: str) -> bool:
    """Whether a variable holds a secret, by its name."""
    return variable.lower().endswith(_SECRET_NAMES)


def otlp_secrets(variable: str, value: str) -> list[str]:
    """The secrets that a variable of OpenTelemetry's exporter may hold: of header fields, in an endpoint's URL."""
    if variable.startswith(_OTLP) and variable.endswith("HEADERS"):
        found = [unquote(item.partition("=")[2].strip()) for item in value.split(",")]
        found += [text.rpartition(" ")[2] for text in found]  # what follows a scheme, as in Bearer
    elif variable.startswith(_OTLP) and variable.endswith("ENDPOINT"):
        found = [text for _, text in parse_qsl(value.partition("?")[2])]
        found.append(value.partition("//")[2].partition("/")[0].rpartition("@")[0].partition(":")[2])
    else:
        return []
    return [text for text in found if len(text) >= SHORTEST_FOREIGN]


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
        # Bytes that are no UTF-8 are read from the environment and from a program's output in two ways.
        plain |= {line.encode(errors="surrogateescape").decode(errors="replace") for line in plain}
        encoded = {quote(line, safe="", errors="surrogateescape") for line in plain}
        encoded |= {_base64(line) for line in plain if len(line) > 8}
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

    def border(self, text: str, at: int) -> int:
        """The last place up to ``at`` where a text can be cut without cutting a secret."""
        for found in self._pattern.finditer(text) if self._pattern else ():
            if found.end() > at:
                return min(at, found.start())
        return at

    @property
    def longest(self) -> int:
        """Characters of the longest form, 0 without any."""
        return max(map(len, self._forms), default=0)


def _base64(text: str) -> str:
    return binascii.b2a_base64(text.encode(errors="surrogateescape"), newline=False).decode()


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
        if len(self._rest) > _LONGEST_LINE + 8 * self._masker.longest:
            self._break_line()

    def close(self) -> None:
        """Give what is left without a line end."""
        if self._rest:
            self._emit(self._rest.rstrip(b"\r"))
        self._rest = b""

    def _break_line(self) -> None:
        text, used = codecs.utf_8_decode(self._rest, "replace", False)  # a character that is not whole yet waits
        cut = self._masker.border(text, len(text) - self._masker.longest)
        self._rest = text[cut:].encode() + self._rest[used:]
        self._sink(self._masker.mask(text[:cut]))

    def _emit(self, line: bytes) -> None:
        self._sink(self._masker.mask(line.decode(errors="replace")))
