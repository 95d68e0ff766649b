"""Private certificates, for the API and for git."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trustme

from kerutaprep import ProtocolError, prepare
from kerutaprep.embedded import api_application, git_application, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fakes import Stage

pytestmark = pytest.mark.anyio


@pytest.fixture
async def private(stage: Stage) -> AsyncIterator[Stage]:
    """A stage whose servers have a certificate of an authority that nobody knows; its own is in ca.pem."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(stage.root / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    async with (
        serve(api_application(stage.content, stage.api.middleware), tls=tls) as api_url,
        serve(git_application(stage.repository.parent, stage.git.middleware), tls=tls) as git_url,
    ):
        stage.api_url, stage.git_url = api_url, git_url
        stage.content.repositories["shop"] = {"url": stage.repository_url}
        yield stage


async def test_a_private_authority_is_trusted_if_named(private: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSL_CERT_FILE holds for the API and for git."""
    monkeypatch.setenv("SSL_CERT_FILE", str(private.root / "ca.pem"))
    result = await prepare(private.settings())
    assert result.commit == private.commit


async def test_the_libraries_own_environment_does_not_count(private: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the settings were made in is what holds; prepare reads no environment."""
    monkeypatch.setenv("SSL_CERT_FILE", str(private.root / "ca.pem"))
    settings = private.settings()
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere")
    assert (await prepare(settings)).commit == private.commit


@pytest.mark.parametrize("who", ["api", "git"])
async def test_an_unknown_authority_is_not_trusted(private: Stage, monkeypatch: pytest.MonkeyPatch, who: str) -> None:
    """A certificate that nobody vouches for is exit 76, at once, and the message names the way out."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    settings = private.settings(retries=3)
    if who == "git":
        settings = private.settings(retries=3, repository_url=private.repository_url, api_url="http://127.0.0.1:9")
    with pytest.raises(ProtocolError, match="certificate"):
        await prepare(settings)
