"""Foreign names and what may become of them: ids to file names, refs, and clone URLs.

Everything here is pure: it takes a string that came from outside and either gives something safe or raises
``ValueError`` with a sentence that says what is wrong, never with the secret a URL may hold.

Patterns are compiled when they are first used: git starts only after the settings were checked, and most are not needed
for that.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit

TYPE_CHECKING = False  # typing is not imported before git is on its way
if TYPE_CHECKING:
    from urllib.parse import SplitResult

MAX_ID_LENGTH = 255
"""Characters of an id; also the bytes of a file name on every common file system."""

_CONTROL = r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]"
_PLAIN_FILE_NAME = r"[A-Za-z0-9._-]{1,255}"
_COMMIT_ID = r"(?i:[0-9a-f]{40}|[0-9a-f]{64})"
# What git-check-ref-format(1) forbids anywhere in a ref name; its rules 4, 5, 8 and 10 and the two-character rules.
_BAD_IN_REF = r"[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]|\.\.|@\{|//|/\.|\.lock(/|$)"
_UNEXPANDED = r"\$\([A-Za-z_][A-Za-z0-9_.-]*\)"
_TRANSPORT_HELPER = r"[A-Za-z0-9][A-Za-z0-9+.-]*::"
_SCP_LIKE = r"(?s:(?:(?P<user>[^@/:]+)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^@/:\[\]]+):(?P<path>.+))"
_HOST = r"[A-Za-z0-9_][A-Za-z0-9_.-]*|(?=.*:)[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?"
_REMOTE_SCHEMES = frozenset({"https", "http", "ssh", "git"})
_DEFAULT_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}


def unexpanded_reference(value: str) -> str | None:
    """The ``$(NAME)`` that Kubernetes left in a value because the container has no such variable."""
    found = re.search(_UNEXPANDED, value)
    return found.group() if found else None


def check_id(value: str) -> str:
    """An id of the API as it is, if it can be one."""
    if not value:
        raise ValueError("must not be empty")
    if len(value) > MAX_ID_LENGTH:
        raise ValueError(f"has {len(value)} characters, {MAX_ID_LENGTH} are allowed")
    if re.search(_CONTROL, value):
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
    if re.fullmatch(_PLAIN_FILE_NAME, document_id):
        return document_id
    encoded = quote(document_id, safe="").replace("~", "%7E")
    if len(encoded) <= MAX_ID_LENGTH and "%" in encoded:
        return encoded
    import hashlib  # noqa: PLC0415 - for a name that is too long only

    digest = hashlib.sha256(document_id.encode()).hexdigest()
    return f"{encoded[:128]}%-{digest}"


def is_commit_id(ref: str) -> bool:
    """Whether a ref is a full commit id (SHA-1 or SHA-256)."""
    return re.fullmatch(_COMMIT_ID, ref) is not None


def check_ref(value: str) -> str:
    """A branch, tag, full ref or commit id as it is, if git-check-ref-format(1) allows it and it is no option."""
    bad = re.search(_BAD_IN_REF, value)
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


class CloneURL:
    """A clone URL taken apart: what may be stored and shown, and the credentials that were in it.

    Attributes:
        text: without password, and for anything but ssh without user: an ssh login is an address, not a secret.
        scheme: ``https``, ``http``, ``ssh``, ``git`` or ``file``.
        host: empty for a local path.
        port: None for the scheme's own.
        username: None where the URL had none.
        password: likewise.
    """

    __slots__ = ("host", "password", "port", "scheme", "text", "username")

    def __init__(  # noqa: PLR0913 - a URL has these parts
        self,
        text: str,
        scheme: str,
        host: str,
        port: int | None = None,
        *,
        username: str | None = None,
        password: str | None = None,
    ) -> None:
        self.text, self.scheme, self.host, self.port = text, scheme, host, port
        self.username, self.password = username, password

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
            scp = None if "://" in self.text else re.fullmatch(_SCP_LIKE, self.text)
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
    if not value or value.startswith("-") or re.search(_CONTROL, value) or " " in value:
        raise ValueError("is no clone URL")
    if re.match(_TRANSPORT_HELPER, value):
        raise ValueError("names a transport helper (…::), which is not allowed")
    if "://" in value:
        return _parse_url(value, local=local)
    if not value.startswith(("/", ".")) and (scp := re.fullmatch(_SCP_LIKE, value)):
        return _parse_scp_like(value, scp)
    if not local:
        raise ValueError("is no clone URL: https, http, ssh, git or user@host:path")
    return CloneURL(value, "file", "")


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
        return CloneURL(value, "file", "")
    if scheme not in _REMOTE_SCHEMES:
        raise ValueError(f"has the scheme {scheme!a}; use https, http, ssh or git")
    if not re.fullmatch(_HOST, host):
        raise ValueError("has no valid host")
    if not parts.path.strip("/"):
        raise ValueError("has no path to a repository")
    if parts.fragment or parts.query:
        raise ValueError("has a query (?…) or fragment (#…), which would be stored; the ref is a setting of its own")
    username, password = _login_in(parts)
    address = parts.netloc.rpartition("@")[2]
    if scheme == "ssh" and parts.username:
        address = f"{parts.username}@{address}"
    return CloneURL(parts._replace(netloc=address).geturl(), scheme, host, port, username=username, password=password)


def _login_in(parts: SplitResult) -> tuple[str | None, str | None]:
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password is not None else None
    if (username or "").startswith("-") or re.search(_CONTROL, f"{username}{password}"):
        raise ValueError("has no valid user")
    return username, password


def _parse_scp_like(value: str, scp: re.Match[str]) -> CloneURL:
    host = scp["host"].strip("[]")
    if host in _REMOTE_SCHEMES and scp["path"].startswith("/"):
        raise ValueError(f"is no clone URL; after {host}: come two slashes")
    if not re.fullmatch(_HOST, host) or (scp["user"] or "").startswith("-") or scp["path"].startswith("-"):
        raise ValueError("is no clone URL")
    return CloneURL(value, "ssh", host, username=scp["user"])
