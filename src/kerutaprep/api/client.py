"""Requests to keruta-api: one attempt each, with every way in which it may fail as an error of ours."""

from __future__ import annotations

import json
import re
import socket
import time
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from yarl import URL

from kerutaprep.api.request import headers_for, new_request_id, proxy_for, repository_path
from kerutaprep.api.resolver import Resolver
from kerutaprep.api.tls import LateContext
from kerutaprep.errors import CredentialsError, NotFoundError, PrepError, ProtocolError, TransportError
from kerutaprep.names import CloneURL, check_branch, parse_clone_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator, Mapping

    from aiohappyeyeballs import AddrInfoType

    from kerutaprep.api.first_request import FirstRequest
    from kerutaprep.events import Recorder
    from kerutaprep.headstart import HeadStart
    from kerutaprep.settings import PrepSettings

_RETRIED = frozenset({408, 425, 429})
_LONGEST_ERROR_BODY = 64 * 1024
_LONGEST_LOOKUP = 1024 * 1024
_LONGEST_SHOWN = 300
_READ_BUFFER = 512 * 1024
"""Bytes that may wait to be taken; with aiohttp's own 64 KiB a large body is stopped and started all the time."""
_UNPRINTABLE = re.compile(r"[^ -~\u00a0-\uffff]+")
_under_way: ContextVar[FirstRequest | None] = ContextVar("under_way", default=None)
"""The request that is being made, where it was sent before: the connector asks for no more than an address."""


class Repository(NamedTuple):
    """What the API knows of a repository."""

    url: CloneURL
    branch: str | None


class KerutaAPI:
    """The API as one run sees it.

    Args:
        settings: where it is, its token, time-outs and proxies.
        session: makes the requests; closed by whoever opened it.
        recorder: told of each request under its id.
        head_start: the requests that were sent before, for a session that ``new_session`` made.
    """

    def __init__(
        self,
        settings: PrepSettings,
        session: aiohttp.ClientSession,
        recorder: Recorder,
        head_start: HeadStart | None = None,
    ) -> None:
        self._head_start = head_start
        self._settings = settings
        self._session = session
        self._recorder = recorder
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_timeout, sock_read=settings.read_timeout
        )
        self._proxy = proxy_for(settings.api_url, settings.environment)

    @asynccontextmanager
    async def get(
        self,
        path: str,
        *,
        what: str,
        step: str,
        expected: Collection[int] = (200,),
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Make one attempt at a request; the body is read inside the context.

        Args:
            path: below the API's URL, percent-encoded.
            what: what is asked for, for messages.
            step: on whose behalf.
            expected: the statuses that the caller deals with.
            headers: beside the usual ones.

        Raises:
            TransportError: worth another attempt.
            CredentialsError: 401, 403, or a token file that can't be read.
            NotFoundError: 404, 410.
            ProtocolError: any other answer.
        """
        early = self._head_start.take_request(path) if self._head_start else None
        token = early.token if early else self._settings.read_api_token()
        request_id = early.request_id if early else new_request_id()
        started = early.started if early else time.monotonic()
        if token:
            self._recorder.masker.add(token)
        url = URL(self._settings.api_url + path, encoded=True)
        sought = f"{what} (request {request_id})"
        with self._recorder.attempt(step, str(url), request_id) as attempt, _foreign_errors(sought):
            with _sent_before(early):
                response = await self._session.get(
                    url,
                    headers={**headers_for(request_id, token), **(headers or {}), **attempt.headers},
                    timeout=self._timeout,
                    proxy=self._proxy,
                    auto_decompress=False,
                    raise_for_status=False,
                    read_bufsize=_READ_BUFFER,
                )
            async with response:
                attempt.answered(response.status)
                elapsed = time.monotonic() - started
                self._recorder.request(step, request_id, f"GET {path}: HTTP {response.status} in {elapsed:.3f} s")
                if response.status not in expected:
                    raise await _refusal(response, sought)
                yield response

    async def look_up_repository(self) -> Repository:
        """Ask once for the repository's clone URL and branch.

        Raises:
            PrepError: as ``get``; ``ProtocolError`` where the answer is no such JSON, or its URL or branch is none.
        """
        repository_id = self._settings.repository_id
        what = f"repository {repository_id!a}"
        async with self.get(repository_path(repository_id), what=what, step="repository") as response:
            body = await response.content.read(_LONGEST_LOOKUP + 1)
            while not response.content.at_eof() and len(body) <= _LONGEST_LOOKUP:
                body += await response.content.read(_LONGEST_LOOKUP)
        return _repository_in(body, what)


def _repository_in(body: bytes, what: str) -> Repository:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"{what}: the API's answer is no JSON; is --api-url right?") from error
    if isinstance(answer, dict) and isinstance(answer.get("data"), dict):
        answer = answer["data"]
    if not isinstance(answer, dict):
        raise ProtocolError(f"{what}: the API's answer is no JSON object; is --api-url right?")
    url, branch = answer.get("url"), answer.get("branch")
    if not isinstance(url, str) or not url:
        raise ProtocolError(f"{what}: the API's answer has no url")
    try:
        parsed = parse_clone_url(url)
    except ValueError as error:
        raise ProtocolError(f"{what}: the clone URL of the API's answer {error}") from None
    if branch in (None, ""):
        return Repository(parsed, None)
    try:
        return Repository(parsed, check_branch(branch))
    except (TypeError, ValueError) as error:
        raise ProtocolError(f"{what}: the branch of the API's answer is none: {error}") from None


def new_session(settings: PrepSettings) -> aiohttp.ClientSession:
    """A session for one run: no cookies, no more connections than allowed, the environment's certificates."""
    connector = aiohttp.TCPConnector(
        limit=settings.max_connections,
        ssl=LateContext(settings.environment),
        resolver=Resolver(settings.connect_timeout),
        socket_factory=_make_socket,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(_no_silent_retry,),
        requote_redirect_url=False,  # a signed URL is followed as it is written
    )


@contextmanager
def _sent_before(request: FirstRequest | None) -> Iterator[None]:
    """Let the connector find the connection of a request that was sent before, and forget it afterwards."""
    token = _under_way.set(request)
    try:
        yield
    finally:
        _under_way.reset(token)
        if request:
            request.close()


def _make_socket(address: AddrInfoType) -> socket.socket:
    """Make the socket for a connection; for a request that was sent before, it is the one on which it was."""
    early = _under_way.get()
    connection = early.take_connection() if early else None
    return connection or socket.socket(*address[:3])


async def _no_silent_retry(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Keep aiohttp from sending a request again by itself: attempts are counted, spaced and logged by us."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        raise aiohttp.ClientConnectionError(str(error)) from error


@contextmanager
def _foreign_errors(what: str) -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch) as error:
        raise ProtocolError(f"{what}: the server's certificate is not trusted: {error} (SSL_CERT_FILE?)") from error
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError, aiohttp.ClientResponseError) as error:
        raise ProtocolError(f"{what}: {_reason(error)}") from error
    except TimeoutError as error:
        raise TransportError(f"{what}: timed out ({_reason(error)})") from error
    except (aiohttp.ClientError, ConnectionError) as error:
        raise TransportError(f"{what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the answer's body was cut short"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"can't connect to {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
    return _UNPRINTABLE.sub(" ", str(error))[:_LONGEST_SHOWN] or type(error).__name__


async def _refusal(response: aiohttp.ClientResponse, what: str) -> PrepError:
    status = response.status
    message = f"{what}: HTTP {status}{await _explanation(response)}"
    if status in {401, 403}:
        return CredentialsError(f"{message}; check KERUTA_API_TOKEN")
    if status in {404, 410}:
        return NotFoundError(f"{message}: not found")
    if status in _RETRIED or status >= 500:
        return TransportError(message, retry_after=retry_after(response.headers, time.time()))
    return ProtocolError(message)


async def _explanation(response: aiohttp.ClientResponse) -> str:
    """The code and message of an error's body, where it has them."""
    body = b""
    while len(body) < _LONGEST_ERROR_BODY and (data := await response.content.read(_LONGEST_ERROR_BODY)):
        body += data
    try:
        error = json.loads(body)["error"]
        text = f"{error['code']}: {error['message']}"
    except (ValueError, LookupError, TypeError, RecursionError):
        return f" {response.reason}" if response.reason else ""
    return f" ({_UNPRINTABLE.sub(' ', text)[:_LONGEST_SHOWN]})"


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that a ``Retry-After`` field asks for, from either of its forms (RFC 9110, 10.2.3).

    Args:
        headers: the answer's; a date is taken relative to the answer's own ``Date``, since clocks differ.
        now: seconds since the epoch, for an answer without ``Date``.
    """
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", value):
        return float(value)
    until = _timestamp(value)
    if until is None:
        return None
    return max(0.0, until - (_timestamp(headers.get("Date", "")) or now))


def _timestamp(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
