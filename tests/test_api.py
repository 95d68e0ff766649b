"""Requests to the API: origins, proxies, and what a server asks us to wait."""

from __future__ import annotations

import signal
import subprocess
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING

import anyio
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from kerutaprep import CredentialsError, PrepError, ProtocolError, TransportError, prepare
from kerutaprep.api.client import retry_after
from kerutaprep.api.request import proxy_for
from kerutaprep.embedded import serve
from tests.fakes import Fakes, Stage, hang_names, run_program, status

if TYPE_CHECKING:
    from pathlib import Path

_NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def _application(fakes: Fakes) -> web.Application:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=b"elsewhere")

    application = web.Application(middlewares=[fakes.middleware])
    application.router.add_get("/{path:.*}", answer)
    return application


@pytest.mark.anyio
async def test_the_token_does_not_follow_a_redirect_to_another_origin(stage: Stage) -> None:
    """A redirect is followed, but the token goes to the API's own origin only."""
    elsewhere = Fakes()
    async with serve(_application(elsewhere)) as other:
        stage.api.on("/content", status(302, {"Location": f"{other}/moved"}))
        await prepare(stage.settings(api_token="s3cret-token"))

    assert stage.keruta("README.md").read_bytes() == b"elsewhere"
    assert "Authorization" not in elsewhere.requests[0].headers
    assert stage.api.to("/content")[0].headers["Authorization"] == "Bearer s3cret-token"


@pytest.mark.anyio
async def test_redirects_without_end_are_the_peers_mistake(stage: Stage) -> None:
    """A loop of redirects is no reason to retry."""
    stage.api.on("/content", *[status(302, {"Location": f"{stage.api_url}/api/v1/documents/x/content"})] * 50)
    with pytest.raises(ProtocolError):
        await prepare(stage.settings())


@pytest.mark.anyio
async def test_a_token_file_is_read_for_each_attempt(stage: Stage, tmp_path: Path) -> None:
    """A token that was rotated between two attempts is the one that is sent."""
    token = tmp_path / "token"
    token.write_text("first\n")

    async def rotate(_request: web.Request) -> web.StreamResponse:
        token.write_text("second\n")
        return web.Response(status=503)

    stage.api.on("/content", rotate)
    await prepare(stage.settings(api_token_file=token))
    sent = [request.headers["Authorization"] for request in stage.api.to("/content")]
    assert sent == ["Bearer first", "Bearer second"]


@pytest.mark.anyio
async def test_a_token_file_that_vanished_is_refused_credentials(stage: Stage, tmp_path: Path) -> None:
    """A token that can't be read any more is exit 77."""
    token = tmp_path / "token"
    token.write_text("first\n")
    settings = stage.settings(api_token_file=token)
    token.unlink()
    with pytest.raises(CredentialsError, match="API token"):
        await prepare(settings)


@pytest.mark.anyio
async def test_a_refused_connection_says_so(stage: Stage) -> None:
    """Where nobody listens the message says it in words."""
    with pytest.raises(TransportError, match=r"can't connect to 127\.0\.0\.1:9: .*([Rr]efused|failed)"):
        await prepare(stage.settings(api_url="http://127.0.0.1:9", repository_url=stage.repository_url, retries=0))


@given(st.integers(0, 10**8))
def test_retry_after_in_either_form(seconds: int) -> None:
    """Seconds are taken as they are, a date relative to the answer's own date."""
    now = _NOON.timestamp()
    assert retry_after({"Retry-After": str(seconds)}, now) == seconds
    until = format_datetime(datetime.fromtimestamp(now + seconds, UTC), usegmt=True)
    date = format_datetime(_NOON, usegmt=True)
    assert retry_after({"Retry-After": until, "Date": date}, now + 1000) == seconds
    assert retry_after({"Retry-After": until}, now) == seconds


@given(st.text())
def test_retry_after_never_raises(value: str) -> None:
    """Whatever a server asks for is a wait or none, never below zero."""
    wait = retry_after({"Retry-After": value}, 0.0)
    assert wait is None or wait >= 0


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("http://api/x", {}, None),
        ("http://api/x", {"HTTP_PROXY": "http://proxy:1"}, "http://proxy:1"),
        ("http://api/x", {"HTTP_PROXY": "http://upper:1", "http_proxy": "http://lower:1"}, "http://lower:1"),
        ("http://api/x", {"HTTPS_PROXY": "http://proxy:1"}, None),
        ("https://api/x", {"HTTPS_PROXY": "proxy:1"}, "http://proxy:1"),
        ("http://api/x", {"ALL_PROXY": "http://proxy:1"}, "http://proxy:1"),
        ("http://a.svc.cluster.local/x", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "x, .cluster.local"}, None),
        ("http://api/x", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "*"}, None),
        ("http://api:80/x", {"HTTP_PROXY": "http://p:1", "no_proxy": "api:80"}, None),
        ("http://10.1.2.3/x", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "10.0.0.0/8"}, None),
        ("http://myapi/x", {"HTTP_PROXY": "http://p:1", "NO_PROXY": "api"}, "http://p:1"),
    ],
)
def test_proxies(url: str, environment: dict[str, str], proxy: str | None) -> None:
    """The proxy variables and NO_PROXY mean what they mean to curl."""
    assert proxy_for(url, environment) == proxy


@pytest.mark.anyio
async def test_a_proxy_is_used(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """With HTTP_PROXY set, the API's requests and git's go through it."""
    proxy = Fakes()
    monkeypatch.setenv("HTTP_PROXY", "")
    async with serve(_application(proxy)) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        settings = stage.settings(api_url="http://api.invalid", repository_url="http://git.invalid/shop.git")
        with pytest.raises(PrepError):
            await prepare(settings)
    assert {request.host for request in proxy.requests} >= {"api.invalid", "git.invalid"}


@pytest.mark.anyio
@pytest.mark.parametrize("end", ["signal", "time-out", "deadline"])
async def test_a_resolver_that_hangs_is_not_waited_for(stage: Stage, end: str) -> None:
    """A name look-up that takes minutes holds up neither a signal nor a time-out."""
    marker, environment = hang_names(stage.root)
    arguments = {"signal": [], "time-out": ["--connect-timeout", "0.5"], "deadline": ["--deadline", "3"]}[end]
    url = stage.api_url.replace("127.0.0.1", "localhost")
    command = stage.command("--retries", "0", "--api-url", url, *arguments)
    with anyio.fail_after(60):
        async with await anyio.open_process(command, stderr=subprocess.DEVNULL, env=environment) as program:
            while not marker.exists():
                await anyio.sleep(0.01)
            if end == "signal":
                while not stage.keruta("prep.log").exists():
                    await anyio.sleep(0.01)
                program.send_signal(signal.SIGTERM)
            assert await program.wait() == (143 if end == "signal" else 75)


@pytest.mark.anyio
@pytest.mark.parametrize("host", [f"{'a' * 64}.invalid", "no-such-host.invalid"])
async def test_a_host_without_an_address(stage: Stage, host: str) -> None:
    """A name that has no address, or can have none, is temporary, and named."""
    ended = await run_program(stage.command("--retries", "0", "--api-url", f"http://{host}"))
    assert ended.code == 75, ended.stderr
    assert host in ended.last_line


@pytest.mark.anyio
async def test_a_name_is_looked_up(stage: Stage) -> None:
    """A server's name is as good as its address."""
    ended = await run_program(stage.command("--api-url", stage.api_url.replace("127.0.0.1", "localhost")))
    assert ended.code == 0, ended.stderr
