"""What each setting may be: each function takes a value as it was given and gives it as it is used.

A value is a word of a flag or variable, or what a library's caller gave. A wrong one is a ``ValueError`` with a
sentence that says what is wrong and repeats no secret. What is of another type altogether is passed on, for pydantic to
refuse.
"""

from __future__ import annotations

import os
import re

from kerutaprep.names import check_branch, check_id, check_ref, parse_clone_url, unexpanded_reference

TYPE_CHECKING = False  # typing is not imported before git is on its way
if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[object], object]

_TRUE = frozenset({"on", "true", "yes", "1"})
_FALSE = frozenset({"off", "false", "no", "0"})
_NOT_IN_A_HEADER = r"[^\x21-\x7e\x80-\xff]"


def refuse_unexpanded(value: object) -> None:
    """Refuse a reference that Kubernetes left as it is (Kubernetes API, Container.args).

    Raises:
        ValueError: it says what is missing.
    """
    for text in value if isinstance(value, (list, tuple)) else (value,):
        reference = unexpanded_reference(text) if isinstance(text, str) else None
        if reference:
            raise ValueError(
                f"is {reference}, a reference that Kubernetes left unexpanded: "
                f"the container has no variable {reference[2:-1]} (is it listed in env, above this one?)"
            )


def split_list(text: str) -> list[str]:
    """What a comma-separated list holds; spaces around an item and empty items do not count."""
    return [item for item in map(str.strip, text.split(",")) if item]


def text(check: Callable[[str], str]) -> Check:
    """A text that passes a check of its own."""
    return lambda value: check(value) if isinstance(value, str) else value


def several(check: Callable[[str], str]) -> Check:
    """A list of texts that each pass, every one once; a text is one that commas separate."""

    def checked(value: object) -> object:
        items = split_list(value) if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
            return items
        return tuple(dict.fromkeys(map(check, items)))

    return checked


def whole_number(least: int, most: int) -> Check:
    """A whole number between bounds."""

    def checked(value: object) -> object:
        try:
            number = int(value)  # type: ignore[call-overload]  # whatever int makes nothing of is refused below
        except (TypeError, ValueError, OverflowError):
            raise ValueError("must be a whole number") from None
        if not isinstance(value, str) and number != value:
            raise ValueError("must be a whole number")
        if number < least:
            raise ValueError(f"must be at least {least}")
        if number > most:
            raise ValueError(f"must be at most {most}")
        return number

    return checked


def seconds(value: object) -> object:
    """A positive, finite number of seconds."""
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever float makes nothing of is refused below
    except (TypeError, ValueError, OverflowError):
        raise ValueError("must be a number") from None
    if number - number != 0:  # an infinity, or no number
        raise ValueError("must be a number")
    if number <= 0:
        raise ValueError("must be more than 0")
    return number


def switch(value: object) -> object:
    """On or off."""
    if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    if isinstance(value, bool):
        return value
    raise ValueError("must be on or off")


def one_of(*words: str) -> Check:
    """One of some words, in capital letters or small ones."""
    known = {word.lower(): word for word in words}
    *all_but_last, last = map(repr, words)

    def checked(value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.lower() not in known:
            raise ValueError(f"must be {', '.join(all_but_last)} or {last}")
        return known[value.lower()]

    return checked


def path(value: object) -> object:
    """A path, made absolute."""
    return os.path.abspath(value) if isinstance(value, (str, os.PathLike)) else value


def readable_file(value: object) -> object:
    """A file that is there and that this user may read."""
    place = path(value)
    if isinstance(place, str) and not os.path.isfile(place):
        raise ValueError(f"{place!a} is no file")
    if isinstance(place, str) and not os.access(place, os.R_OK):
        raise ValueError(f"{place!a} can't be read by user {os.geteuid()}")
    return place


def secret_for_header(value: str) -> str:
    """A token that ends up in a header line: what would end or garble that line is refused (RFC 9110, 5.5)."""
    token = value.strip()
    if re.search(_NOT_IN_A_HEADER, token):
        raise ValueError("must not have blanks, control characters or characters beyond Latin-1 inside")
    return token


def api_url(value: str) -> str:
    """The API's base, without a slash at its end."""
    if not value:
        raise ValueError("must not be empty")
    if not value.lower().startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    if "?" in value or "#" in value:
        raise ValueError("must not have a query (?…) or fragment (#…)")
    try:
        url = parse_clone_url(value + "/api")
    except ValueError as error:
        raise ValueError(str(error).replace("clone URL", "URL")) from None
    if url.username is not None or url.password is not None:
        raise ValueError("must not hold a user or password; KERUTA_API_TOKEN is the place for the token")
    return value.rstrip("/")


def clone_url(value: str) -> str:
    """A clone URL as it is, with its user info; a local path is one, too, and made absolute."""
    local = parse_clone_url(value, local=True).scheme == "file" and "://" not in value
    return os.path.abspath(value) if local else value


def sparse_path(value: str) -> str:
    """A directory inside the repository, without slashes at its ends."""
    inside = value.strip("/")
    if not inside or any(part in {"", ".", ".."} for part in inside.split("/")):
        raise ValueError(f"{value!a} is no directory inside the repository")
    if re.search(r"[\x00-\x1f\x7f]", inside):
        raise ValueError("must not have control characters")
    return inside


def sha256(value: str) -> str:
    """A SHA-256 in hexadecimal digits, with the algorithm's name before it or without."""
    digest = value.lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError("must be 64 hexadecimal digits")
    return digest


def anything(value: str) -> str:
    """Any text."""
    return value


an_id = check_id
a_ref = check_ref
a_branch = check_branch
