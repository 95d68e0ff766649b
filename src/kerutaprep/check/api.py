"""What a run would meet at keruta-api: each layer on the way there, and each thing that it would ask for."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from anyio.streams.tls import TLSAttribute, TLSStream

from kerutaprep.api.request import document_path, proxy_for, script_path
from kerutaprep.api.tls import tls_context
from kerutaprep.check.findings import Finding, failed, ok, skipped, warning
from kerutaprep.errors import CredentialsError, NotFoundError, PrepError, ProtocolError, ScriptError, TransportError
from kerutaprep.events import format_bytes
from kerutaprep.install import HEAD, interpreter_in, refuse_html, require_digest
from kerutaprep.settings import mask_login

if TYPE_CHECKING:
    import aiohttp
    from anyio.abc import ByteStream

    from kerutaprep.api.client import KerutaAPI
    from kerutaprep.masking import Masker
    from kerutaprep.names import CloneURL
    from kerutaprep.settings import PrepSettings

_LONGEST_SCRIPT = 16 * 1024 * 1024
"""Bytes up to which a script's digest is looked at."""
_DEFAULT_PORTS = {"http": 80, "https": 443}


class APIChecks:
    """The looks at the API.

    Args:
        settings: where it is, and what would be asked for.
        api: makes the requests.
        masker: told of the credentials in an answer.

    Attributes:
        url: the repository's clone URL; once ``repository`` was looked at, or where it was given.
        branch: what the API says of the ref, None for nothing.
        size: bytes of the documents, as far as they were told.
    """

    def __init__(self, settings: PrepSettings, api: KerutaAPI, masker: Masker) -> None:
        self._settings = settings
        self._api = api
        self._masker = masker
        self._script_error: PrepError | None = None
        self._proxied = proxy_for(settings.api_url, settings.environment)
        address = urlsplit(self._proxied or settings.api_url)
        self._host, self._port = address.hostname or "", address.port or _DEFAULT_PORTS.get(address.scheme, 80)
        self._addresses: list[str] = []
        self.url: CloneURL | None = settings.clone_url
        self.branch: str | None = None
        self.size = 0

    async def resolve(self) -> list[Finding]:
        """Look the host's name up, or its proxy's."""
        try:
            with anyio.fail_after(self._settings.connect_timeout):
                # Not by the event loop's own threads, whose end is waited for, whatever the resolver waits for.
                found = await anyio.to_thread.run_sync(
                    partial(socket.getaddrinfo, self._host, self._port, type=socket.SOCK_STREAM), abandon_on_cancel=True
                )
        except TimeoutError as error:
            raise TransportError(f"no answer for {self._host} in {self._settings.connect_timeout:g} s") from error
        except OSError as error:
            raise TransportError(f"{self._host} can't be resolved: {error.strerror}") from error
        self._addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        proxy = " (the proxy)" if self._proxied else ""
        return ok("dns", f"{self._host}{proxy} is {', '.join(self._addresses)}")

    async def connect(self) -> list[Finding]:
        """Connect, and speak TLS where the URL says so."""
        peer = f"{self._host}:{self._port}"
        try:
            with anyio.fail_after(self._settings.connect_timeout):
                stream = await self._connect_to_any()
        except TimeoutError as error:
            raise TransportError(f"{peer} does not answer in {self._settings.connect_timeout:g} s") from error
        except OSError as error:
            number = getattr(error.__cause__, "errno", None)
            raise TransportError(f"can't connect to {peer}: {os.strerror(number) if number else error}") from error
        findings = ok("connection", f"{peer} accepts connections")
        try:
            return findings + await self._speak_tls(stream, peer)
        finally:
            await anyio.aclose_forcefully(stream)

    async def _connect_to_any(self) -> ByteStream:
        for address in self._addresses[:-1]:
            with contextlib.suppress(OSError):
                return await anyio.connect_tcp(address, self._port)
        return await anyio.connect_tcp(self._addresses[-1], self._port)

    async def _speak_tls(self, stream: ByteStream, peer: str) -> list[Finding]:
        if not self._settings.api_url.startswith("https:"):
            return skipped("tls", "the API's URL is plain http")
        if self._proxied:
            return skipped("tls", "it goes through the proxy; the requests below tell")
        try:
            context = tls_context(self._settings.environment)
            with anyio.fail_after(self._settings.connect_timeout):
                wrapped = await TLSStream.wrap(
                    stream, hostname=self._host, ssl_context=context, standard_compatible=False
                )
        except ssl.SSLCertVerificationError as error:
            refusal = ProtocolError(
                f"the certificate of {peer} is not trusted: {error.verify_message} (SSL_CERT_FILE?)"
            )
            return failed("tls", refusal, 0)
        except (OSError, TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError) as error:
            return failed("tls", TransportError(f"no TLS with {peer}: {error}"), self._settings.retries)
        version = wrapped.extra_attributes[TLSAttribute.tls_version]()
        certificate = wrapped.extra_attributes[TLSAttribute.peer_certificate]()
        return ok("tls", f"{version}, certificate valid until {certificate.get('notAfter')}")

    async def token(self) -> list[Finding]:
        """Whether the token is accepted, as the answer for the script tells, which must be there by now."""
        if self._settings.read_api_token() is None:
            return skipped("token", "none is set: requests go without")
        if isinstance(self._script_error, CredentialsError):
            return [Finding("failed", "token", "the API refused it; check KERUTA_API_TOKEN")]
        if self._script_error:
            return skipped("token", "no answer tells whether it is accepted")
        return ok("token", "*** was not refused")

    async def repository(self) -> list[Finding]:
        """Look up the clone URL, where it was not given."""
        if self.url is not None:
            return skipped("repository", f"the clone URL was given: {self.url.text}")
        self.url, self.branch = await self._api.look_up_repository()
        mask_login(self.url, self._masker)
        return ok("repository", f"{self.url.text}, {f'branch {self.branch}' if self.branch else 'no branch named'}")

    @property
    def known_url(self) -> CloneURL:
        """The clone URL, for a look that needs ``repository``."""
        if self.url is None:
            raise RuntimeError("the repository was not looked at yet")
        return self.url

    async def document(self, document_id: str, name: str) -> list[Finding]:
        """Ask for a document, and read no more than the answer's head.

        Args:
            document_id: the document's.
            name: what to call it.
        """
        what = f"document {document_id!a}"
        path = document_path(document_id)
        async with self._api.get(path, what=what, step="documents", expected=(200, 204)) as response:
            length = 0 if response.status == 204 else response.content_length
            response.close()
        self.size += length or 0
        return ok(name, f"{document_id!a} is there, {_size(length)}")

    async def script(self) -> list[Finding]:
        """Ask for the install script, and read its beginning; all of it where its digest is to be looked at."""
        what = f"install script of repository {self._settings.repository_id!a}"
        limit = _LONGEST_SCRIPT if self._settings.script_sha256 else HEAD
        try:
            async with self._api.get(
                script_path(self._settings.repository_id), what=what, step="script", expected=(200, 204)
            ) as response:
                body = b"" if response.status == 204 else await _read(response, limit)
                response.close()
        except NotFoundError:
            return ok("script", "none: nothing would be installed")
        except PrepError as error:
            self._script_error = error
            raise
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
            return warning("script", "it comes encoded although that was not asked for, and was not looked into")
        if not body[:HEAD].strip() and len(body) < HEAD:
            return ok("script", "none: nothing would be installed")
        refuse_html(body[:HEAD], response.content_type, what)
        interpreter = interpreter_in(body)[0]
        findings = ok("script", f"is there, {_size(response.content_length)}, for {interpreter}")
        if self._settings.script_sha256:
            findings += self._check_digest(body, self._settings.script_sha256, what)
        if shutil.which(interpreter, path=self._settings.environment.get("PATH")) is None:
            missing = ScriptError(f"install.sh can't be started by {interpreter}, which is not here", status=127)
            findings += failed("interpreter", missing, 0)
        return findings

    @staticmethod
    def _check_digest(body: bytes, expected: str, what: str) -> list[Finding]:
        if len(body) >= _LONGEST_SCRIPT:
            return warning("digest", f"not looked at: the script has {format_bytes(_LONGEST_SCRIPT)} or more")
        require_digest(hashlib.sha256(body).hexdigest(), expected, what)
        return ok("digest", "the script's SHA-256 is the one that --script-sha256 asks for")


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    while len(body) < limit and (data := await response.content.read(limit - len(body))):
        body += data
    return bytes(body)


def _size(length: int | None) -> str:
    return "its size is not told" if length is None else format_bytes(length)
