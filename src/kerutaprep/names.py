"""Foreign names and what may become of them: ids to file names, refs, and clone URLs.

Everything here is pure: it takes a string that came from outside and either gives something safe or raises
``ValueError`` with a sentence that says what is wrong, never with the secret a URL may hold.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

MAX_ID_LENGTH = 255
"""Characters of an id; also the bytes of a file name on every common file system."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]")
_PLAIN_FILE_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")
_COMMIT_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}", re.IGNORECASE)
# What git-check-ref-format(1) forbids anywhere in a ref name; its rules 4, 5, 8 and 10 and the two-character rules.
_BAD_IN_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]|\.\.|@\{|//|/\.|\.lock(/|$)")
_UNEXPANDED = re.compile(r"\$\([A-Za-z_][A-Za-z0-9_.-]*\)")
_TRANSPORT_HELPER = re.compile(r"[A-Za-z0-9][A-Za-z0-9+.-]*::")
_SCP_LIKE = re.compile(r"(?:(?P<user>[^@/:]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^@/:\[\]]+):(?P<path>.+)", re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*|(?=.*:)[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?")
_REMOTE_SCHEMES = frozenset({"https", "http", "ssh", "git"})
_DEFAULT_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}


def unexpanded_reference(value: str) -> str | None:
    """The ``$(NAME)`` that Kubernetes left in a value because the container has no such variable."""
    found = _UNEXPANDED.search(value)
    return found.group() if found else None


def check_id(value: str) -> str:
    """An id of the API as it is, if it can be one."""
    if not value:
        raise ValueError("must not be empty")
    if len(value) > MAX_ID_LENGTH:
        raise ValueError(f"has {len(value)} characters, {MAX_ID_LENGTH} are allowed")
    if _CONTROL.search(value):
        raise ValueError("must not have control characters")
    if value in {".", ".."}:
        raise ValueError(f"must not be {value!r}")
    return value


def path_segment(value: str) -> str:
    """An id percent-encoded as one segment of a URL's path (RFC 3986, 3.3)."""
    return quote(value, safe="")


def document_file_name(document_id: str) -> str:
    """The name of a document's file: injective, at most 255 bytes, never a path.

    An id of ``[A-Za-z0-9._-]`` keeps its name. Any other holds a ``%``, which no such id has: percent-encoded where
    that fits, else as far as it fits with ``%-`` (never an encoded byte) and the id's SHA-256.
    """
    if _PLAIN_FILE_NAME.fullmatch(document_id):
        return document_id
    encoded = quote(document_id, safe="").replace("~", "%7E")
    if len(encoded) <= MAX_ID_LENGTH and "%" in encoded:
        return encoded
    digest = hashlib.sha256(document_id.encode()).hexdigest()
    return f"{encoded[:128]}%-{digest}"


def is_commit_id(ref: str) -> bool:
    """Whether a ref is a full commit id (SHA-1 or SHA-256)."""
    return _COMMIT_ID.fullmatch(ref) is not None


def check_ref(value: str) -> str:
    """A branch, tag, full ref or commit id as it is, if git-check-ref-format(1) allows it and it is no option."""
    bad = _BAD_IN_REF.search(value)
    if not value or value in {"@", "refs/heads/HEAD"} or value[0] in "-./+" or value[-1] in "./" or bad:
        raise ValueError(f"{value!a} is no valid name of a branch or tag")
    if len(value) > MAX_ID_LENGTH:
        raise ValueError(f"has {len(value)} characters, {MAX_ID_LENGTH} are allowed")
    return value


def check_branch(value: str) -> str:
    """A branch's short name as it is; neither ``HEAD`` nor a commit id is one."""
    check_ref(value)
    if value == "HEAD" or value.startswith("refs/") or is_commit_id(value):
        raise ValueError(f"{value!a} can't be the name of a branch")
    return value


class CloneURL(NamedTuple):
    """A clone URL taken apart: what may be stored and shown, and the credentials that were in it."""

    text: str
    """Without password, and for anything but ssh without user: an ssh login is an address, not a secret."""
    scheme: str
    """``https``, ``http``, ``ssh``, ``git`` or ``file``."""
    host: str
    port: int | None
    """None for the scheme's own."""
    username: str | None = None
    password: str | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port as git matches them for credentials (gitcredentials(7))."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (f":{self.port}" if self.port else "")

    def same_repository(self, other: CloneURL) -> bool:
        """Whether two URLs name one repository, however the end is written and whoever logs in."""
        return self.identity == other.identity

    @property
    def identity(self) -> tuple[str, str, int | None, str]:
        """What makes it this repository and no other: scheme, host, port and path."""
        path = self.text
        if self.scheme != "file":
            scp = None if "://" in self.text else _SCP_LIKE.fullmatch(self.text)
            path = scp["path"] if scp else urlsplit(self.text).path
        path = path.removeprefix("file://").strip("/").removesuffix(".git").rstrip("/")
        return self.scheme, self.host.lower(), self.port or _DEFAULT_PORTS.get(self.scheme), path


def parse_clone_url(value: str, *, local: bool = False) -> CloneURL:
    """Take a clone URL apart.

    Args:
        value: ``https``, ``http``, ``ssh`` or ``git`` URL, or the scp-like form of git-clone(1).
        local: whether ``file`` URLs and paths are allowed; never for a URL that came from the API.

    Raises:
        ValueError: it is none of these, or holds something that git or ssh could take for an option or a command.
    """
    if not value or value.startswith("-") or _CONTROL.search(value) or " " in value:
        raise ValueError("is no clone URL")
    if _TRANSPORT_HELPER.match(value):
        raise ValueError("names a transport helper (…::), which is not allowed")
    if "://" in value:
        return _parse_url(value, local=local)
    if not value.startswith(("/", ".")) and (scp := _SCP_LIKE.fullmatch(value)):
        return _parse_scp_like(value, scp)
    if not local:
        raise ValueError("is no clone URL: https, http, ssh, git or user@host:path")
    return CloneURL(value, "file", "", None)


def _parse_url(value: str, *, local: bool) -> CloneURL:
    try:
        parts = urlsplit(value)
        port = parts.port
        host = parts.hostname or ""
    except ValueError:
        raise ValueError("is no valid URL") from None
    scheme = parts.scheme
    if scheme == "file":
        if not local:
            raise ValueError("is a file URL, which only a flag or variable may give")
        if "@" in parts.netloc:
            raise ValueError("is a file URL with a user, who would not be asked")
        return CloneURL(value, "file", "", None)
    if scheme not in _REMOTE_SCHEMES:
        raise ValueError(f"has the scheme {scheme!a}; use https, http, ssh or git")
    if not _HOST.fullmatch(host):
        raise ValueError("has no valid host")
    if not parts.path.strip("/"):
        raise ValueError("has no path to a repository")
    if parts.fragment or parts.query:
        raise ValueError("has a query (?…) or fragment (#…), which would be stored; the ref is a setting of its own")
    username, password = _login_in(parts)
    address = parts.netloc.rpartition("@")[2]
    if scheme == "ssh" and parts.username:
        address = f"{parts.username}@{address}"
    return CloneURL(parts._replace(netloc=address).geturl(), scheme, host, port, username, password)


def _login_in(parts: SplitResult) -> tuple[str | None, str | None]:
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password is not None else None
    if (username or "").startswith("-") or _CONTROL.search(f"{username}{password}"):
        raise ValueError("has no valid user")
    return username, password


def _parse_scp_like(value: str, scp: re.Match[str]) -> CloneURL:
    host = scp["host"].strip("[]")
    if host in _REMOTE_SCHEMES and scp["path"].startswith("/"):
        raise ValueError(f"is no clone URL; after {host}: come two slashes")
    if not _HOST.fullmatch(host) or (scp["user"] or "").startswith("-") or scp["path"].startswith("-"):
        raise ValueError("is no clone URL")
    return CloneURL(value, "ssh", host, None, scp["user"])
