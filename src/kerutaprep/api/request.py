"""What a request to keruta-api is: its path, its headers, and the proxy that it takes. Nothing here sends one.

Imports nothing heavy: the program sends its first requests before it loads an HTTP client.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from kerutaprep._version import __version__
from kerutaprep.names import path_segment

TYPE_CHECKING = False  # typing is not imported before git is on its way
if TYPE_CHECKING:
    from collections.abc import Mapping

_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


def repository_path(repository_id: str) -> str:
    """The path of what the API knows of a repository, below the API's URL."""
    return f"/api/v1/repositories/{path_segment(repository_id)}"


def script_path(repository_id: str) -> str:
    """The path of a repository's install script."""
    return f"{repository_path(repository_id)}/script"


def document_path(document_id: str) -> str:
    """The path of a document's bytes."""
    return f"/api/v1/documents/{path_segment(document_id)}/content"


def new_request_id() -> str:
    """A random id for one attempt, in the form of a UUID of version 4 (RFC 9562, 5.4)."""
    digits = bytearray(os.urandom(16))
    digits[6] = digits[6] & 0x0F | 0x40
    digits[8] = digits[8] & 0x3F | 0x80
    text = digits.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def is_sent_as_written(url: str) -> bool:
    """Whether a client's ``Host`` field is the URL's authority as it stands (RFC 9110, 7.2).

    Clients leave out a scheme's own port, a dot at the end of a name, and user info.
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in {None, 80 if parts.scheme == "http" else 443} else f":{parts.port}"
    return parts.netloc == f"{host}{port}"


def headers_for(request_id: str, token: str | None) -> dict[str, str]:
    """The headers of one attempt, in the order in which they are sent."""
    headers = {
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "User-Agent": f"kerutaprep/{__version__}",
        "X-Request-ID": request_id,
    }
    return headers | ({"Authorization": f"Bearer {token}"} if token else {})


def proxy_for(url: str, environment: Mapping[str, str]) -> str | None:
    """The proxy for a URL, as ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``NO_PROXY`` say; in lower case they win."""
    variables = {name: environment.get(name) or environment.get(name.upper()) for name in _PROXY_VARIABLES}
    parts = urlsplit(url)
    proxy = variables[f"{parts.scheme}_proxy"] or variables["all_proxy"]
    if not proxy or _bypasses_proxy(parts.hostname or "", parts.port, variables["no_proxy"] or ""):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _bypasses_proxy(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether a host is in a ``NO_PROXY`` list: by name, by domain, by address or network, with a port or without."""
    import ipaddress  # noqa: PLC0415 - where there is a proxy only

    for item in map(str.strip, no_proxy.lower().split(",")):
        name = item.removesuffix(f":{port}").lstrip("*").removeprefix(".")
        if item == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(item, strict=False):
                return True
        except ValueError:
            continue
    return False
