"""A request that is on its way before an HTTP client is loaded, and the connection that the client then finds it on.

To load the client takes ten times as long as to ask. What it would have sent is sent without it, by a thread, since
name look-ups block. The client gets the connection where it would have made one, and what it sends on it first is not
sent again. The answer, its checks and any further attempt are the client's alone.
"""

from __future__ import annotations

import socket
import threading
import time
from urllib.parse import urlsplit

from kerutaprep.api.request import headers_for, new_request_id

TYPE_CHECKING = False  # typing is not imported before git is on its way
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from typing_extensions import Buffer

_PORTS = {"http": 80, "https": 443}


class FirstRequest:
    """The first attempt at one request, from its start on.

    Args:
        api_url: the API's base. Over https only the connection is made: the request needs TLS first.
        path: below it, percent-encoded.
        token: the bearer token, None without one.
        timeout: seconds for the connection.
    """

    def __init__(self, api_url: str, path: str, token: str | None, timeout: float) -> None:
        self.request_id = new_request_id()
        self.token = token
        self.started = time.monotonic()
        parts = urlsplit(api_url + path)
        self._address = (parts.hostname or "", _PORTS[parts.scheme] if parts.port is None else parts.port)
        self._timeout = timeout
        self._request = b""
        if parts.scheme == "http":
            headers = {"Host": parts.netloc, **headers_for(self.request_id, token)}
            lines = [f"GET {parts.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
            self._request = "\r\n".join(lines).encode()
        self._lock = threading.Lock()
        self._dropped = False
        self._connection: SentConnection | None = None
        threading.Thread(target=self._send, name=f"kerutaprep {path}", daemon=True).start()

    def _send(self) -> None:
        try:
            connection = _connect(self._address, self._timeout)
        except OSError:
            return  # the client meets the same, and tells of it
        with self._lock:
            if not self._dropped:
                try:
                    connection.send_early(self._request)
                except OSError:
                    connection.close()
                else:
                    self._connection = connection
                return
        connection.close()

    @property
    def is_sent(self) -> bool:
        """Whether it is on its way; a request that is not is never sent any more."""
        with self._lock:
            self._dropped = True
            return self._connection is not None

    def take_connection(self) -> socket.socket | None:
        """The connection, once; whoever takes it closes it."""
        with self._lock:
            connection, self._connection = self._connection, None
            return connection

    def close(self) -> None:
        """Drop the request, and close the connection if nobody took it."""
        if self.is_sent and (connection := self.take_connection()) is not None:
            connection.close()


class SentConnection(socket.socket):
    """A connected socket on which a request was sent that its next user takes for unsent, and unconnected."""

    _unsent = b""

    def send_early(self, request: bytes) -> None:
        """Send what the next user will send first."""
        self.sendall(request)
        self._unsent = request

    def connect(self, address: Any) -> None:
        """Do nothing: it is connected, wherever the next user's own look-up would have led."""

    def send(self, data: Buffer, flags: int = 0) -> int:
        """Send what was not sent before.

        Raises:
            ConnectionAbortedError: it is not what was sent before, so that no answer here would be one to it.
        """
        if not self._unsent:
            return super().send(data, flags)
        sent = bytes(data)[: len(self._unsent)]
        if not self._unsent.startswith(sent):
            raise ConnectionAbortedError("another request was sent on this connection")
        self._unsent = self._unsent[len(sent) :]
        return len(sent)

    def sendmsg(self, buffers: Iterable[Buffer], ancillary: Any = (), flags: int = 0, address: Any = None, /) -> int:
        """Send what was not sent before, likewise."""
        if self._unsent:
            return self.send(b"".join(buffers), flags)
        return super().sendmsg(buffers, ancillary, flags, address)


def _connect(address: tuple[str, int], timeout: float) -> SentConnection:
    failure = OSError("the name has no address")
    for family, kind, protocol, _, place in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
        connection = SentConnection(family, kind, protocol)
        connection.settimeout(timeout)
        try:
            socket.socket.connect(connection, place)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure
