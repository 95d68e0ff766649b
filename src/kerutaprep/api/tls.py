"""Which certificates are trusted, and reading them no earlier than they are needed."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kerutaprep.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping


class LateContext(ssl.SSLContext):
    """A client's context that reads the certificates when the first connection begins: most runs use plain HTTP.

    Args:
        environment: where ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are looked up.
    """

    def __new__(cls, _environment: Mapping[str, str]) -> LateContext:
        """Make the kind of context that checks the server's certificate and name."""
        return super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._context: ssl.SSLContext | None = None

    def wrap_bio(self, *arguments: Any, **options: Any) -> ssl.SSLObject:
        """Begin a connection, as asyncio begins every one."""
        if self._context is None:
            self._context = tls_context(self._environment)
        return self._context.wrap_bio(*arguments, **options)


def tls_context(environment: Mapping[str, str]) -> ssl.SSLContext:
    """What a server's certificate is checked against: the environment's certificates, else OpenSSL's own.

    Raises:
        OSError: what the environment names can't be read.
    """
    cafile, capath = (environment.get(name) or None for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"))
    if not cafile and not capath:
        usual = ssl.get_default_verify_paths()
        cafile = usual.openssl_cafile if Path(usual.openssl_cafile).is_file() else None
        capath = usual.openssl_capath if Path(usual.openssl_capath).is_dir() else None
    return ssl.create_default_context(cafile=cafile, capath=capath)


def require_certificates(api_url: str, environment: Mapping[str, str]) -> None:
    """Refuse an environment whose certificates can't be read, where the API needs some.

    Raises:
        SettingsError: it names the variables.
    """
    if api_url.startswith("https:") and environment.get("SSL_CERT_FILE"):
        try:
            tls_context(environment)
        except OSError as error:
            raise SettingsError(f"SSL_CERT_FILE / SSL_CERT_DIR: certificates can't be read: {error}") from error
