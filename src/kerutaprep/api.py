"""Requests to keruta-api: one attempt each, with every way in which it may fail as an error of ours."""

from __future__ import annotations

import ipaddress
import json
import re
import ssl
import time
import uuid
from contextlib import asynccontextmanager, contextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from kerutaprep._version import __version__
from kerutaprep.errors import CredentialsError, NotFoundError, PrepError, ProtocolError, TransportError
from kerutaprep.names import CloneURL, check_branch, parse_clone_url, path_segment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterator, Mapping

    from kerutaprep.events import Recorder
    from kerutaprep.settings import PrepSettings

_RETRIED = frozenset({408, 425, 429})
_LONGEST_ERROR_BODY = 64 * 1024
_LONGEST_LOOKUP = 1024 * 1024
_LONGEST_SHOWN = 300
_UNPRINTABLE = re.compile(r"[^ -~\u00a0-\uffff]+")
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


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
    """

    def __init__(self, settings: PrepSettings, session: aiohttp.ClientSession, recorder: Recorder) -> None:
        self._settings = settings
        self._session = session
        self._recorder = recorder
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_timeout, sock_read=settings.read_timeout
        )
        self._proxy = proxy_for(settings.api_url, settings.environment)

    @property
    def script_path(self) -> str:
        """The path of the repository's install script."""
        return f"/api/v1/repositories/{path_segment(self._settings.repository_id)}/script"

    @staticmethod
    def document_path(document_id: str) -> str:
        """The path of a document's bytes."""
        return f"/api/v1/documents/{path_segment(document_id)}/content"

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
        token = self._settings.read_api_token()
        request_id = str(uuid.uuid4())
        sent = {
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": f"kerutaprep/{__version__}",
            "X-Request-ID": request_id,
            **(headers or {}),
        }
        if token:
            self._recorder.masker.add(token)
            sent["Authorization"] = f"Bearer {token}"
        url = URL(self._settings.api_url + path, encoded=True)
        started = time.monotonic()
        sought = f"{what} (request {request_id})"
        with _foreign_errors(sought):
            async with self._session.get(
                url,
                headers=sent,
                timeout=self._timeout,
                proxy=self._proxy,
                auto_decompress=False,
                raise_for_status=False,
            ) as response:
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
        path = f"/api/v1/repositories/{path_segment(repository_id)}"
        async with self.get(path, what=what, step="repository") as response:
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


def new_session(settings: PrepSettings) -> aiohttp.ClientSession:
    """A session for one run: no cookies, no more connections than allowed, the environment's certificates."""
    connector = aiohttp.TCPConnector(limit=settings.max_connections, ssl=tls_context(settings) or True)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        middlewares=(_no_silent_retry,),
        requote_redirect_url=False,  # a signed URL is followed as it is written
    )


def tls_context(settings: PrepSettings) -> ssl.SSLContext | None:
    """What the API's certificate is checked against: ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``; None for the usual.

    Raises:
        OSError: what they name can't be read.
    """
    cafile, capath = (settings.environment.get(name) or None for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    if settings.api_url.startswith("https:") and (cafile or capath):
        return ssl.create_default_context(cafile=cafile, capath=capath)
    return None


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
