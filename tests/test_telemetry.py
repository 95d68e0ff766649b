"""Traces, as a collector receives them from the real program."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from kerutaprep.embedded import serve
from kerutaprep.masking import otlp_secrets
from kerutaprep.tracing import parent_headers
from tests.fakes import Gate, Stage, reset, run_program, status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_TRACE = "0af7651916cd43dd8448eb211c80319c"
_PARENT = "b7ad6b7169203331"
_TRACEPARENT = f"00-{_TRACE}-{_PARENT}-01"


@dataclass
class Collector:
    """What an OTLP/HTTP receiver was sent."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, object]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        """Answer an export (OTLP specification, OTLP/HTTP)."""
        received = ExportTraceServiceRequest.FromString(await request.read())
        self.headers.append(dict(request.headers))
        for resource in received.resource_spans:
            self.resources.append(_values(resource.resource.attributes))
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return web.Response(content_type="application/x-protobuf")

    def named(self, name: str) -> list[Span]:
        """The spans of a name, in the order in which they began."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start_time_unix_nano)

    def one(self, name: str) -> Span:
        """The only span of a name."""
        (span,) = self.named(name)
        return span

    def __str__(self) -> str:
        return "\n".join(map(str, self.spans))


def _values(attributes: object) -> dict[str, object]:
    found = {}
    for item in attributes:  # type: ignore[attr-defined]  # protobuf's container of KeyValue, which has no public type
        kind = item.value.WhichOneof("value")
        value = getattr(item.value, kind)
        found[item.key] = [entry.string_value for entry in value.values] if kind == "array_value" else value
    return found


def _of(span: Span) -> dict[str, object]:
    return _values(span.attributes)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """A receiver that takes everything."""
    async with _collecting() as opened:
        yield opened


@asynccontextmanager
async def _collecting() -> AsyncIterator[Collector]:
    collector = Collector()
    application = web.Application()
    application.router.add_post("/v1/traces", collector.take)
    async with serve(application) as url:
        collector.url = url
        yield collector


def _traced(collector: Collector, **more: str) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "TRACEPARENT": _TRACEPARENT, **more}


@pytest.mark.anyio
async def test_run_steps_and_attempts_are_one_trace(stage: Stage, collector: Collector) -> None:
    """The run's span is the parent's child, each step's the run's, each attempt's its step's."""
    ended = await run_program(stage.command("--ref", "main"), **_traced(collector, TRACESTATE="vendor=1"))

    assert ended.code == 0, ended.stderr
    assert {span.trace_id.hex() for span in collector.spans} == {_TRACE}
    run = collector.one("kerutaprep")
    assert run.parent_span_id.hex() == _PARENT
    facts = {"repository.id": "shop", "ref": "main", "commit": stage.commit, "exit_code": 0, "outcome": "succeeded"}
    assert _of(run).items() >= {f"kerutaprep.{name}": value for name, value in facts.items()}.items()
    assert run.status.code == Status.STATUS_CODE_UNSET
    for name in ("workspace", "repository", "clone", "exclude", "documents", "script", "install"):
        step = collector.one(name)
        assert step.parent_span_id == run.span_id
        assert run.start_time_unix_nano <= step.start_time_unix_nano <= step.end_time_unix_nano
        assert step.end_time_unix_nano <= run.end_time_unix_nano
        assert _of(step).items() >= {"kerutaprep.step": name, "kerutaprep.status": "succeeded"}.items()
    assert _of(collector.one("documents")).items() >= {"kerutaprep.attempts": 1, "kerutaprep.bytes": 11}.items()
    for kind, step_name in (("repositories/{id}", "repository"), ("documents/{id}/content", "documents")):
        attempt = collector.one(f"GET /api/v1/{kind}")
        assert attempt.parent_span_id == collector.one(step_name).span_id
        assert attempt.trace_state == "vendor=1"
    assert len(collector.spans) == 11


@pytest.mark.anyio
async def test_an_attempt_is_described_by_the_semantic_conventions(stage: Stage, collector: Collector) -> None:
    """A client span tells method, URL, server, status and the id that the API logs."""
    await run_program(stage.command(), **_traced(collector))

    attempt = collector.one("GET /api/v1/documents/{id}/content")
    request = stage.api.to("/content")[0]
    assert attempt.kind == Span.SPAN_KIND_CLIENT
    assert _of(attempt) == {
        "http.request.method": "GET",
        "http.request.header.x-request-id": [request.headers["X-Request-ID"]],
        "http.response.status_code": 200,
        "kerutaprep.step": "documents",
        "kerutaprep.status": "succeeded",
        "server.address": "127.0.0.1",
        "server.port": int(stage.api_url.rpartition(":")[2]),
        "url.full": f"{stage.api_url}/api/v1/documents/task-1/content",
        "url.template": "/api/v1/documents/{id}/content",
    }


@pytest.mark.anyio
async def test_each_attempt_sends_its_own_span(stage: Stage, collector: Collector) -> None:
    """The API is sent the very attempt's id; retries are counted and told as events with their reason."""
    stage.api.on("/content", status(503), reset)
    ended = await run_program(stage.command("--retries", "2"), **_traced(collector))

    assert ended.code == 0, ended.stderr
    attempts = collector.named("GET /api/v1/documents/{id}/content")
    sent = [request.headers["traceparent"] for request in stage.api.to("/content")]
    assert sent == [f"00-{_TRACE}-{span.span_id.hex()}-01" for span in attempts]
    assert len(set(sent)) == 3
    assert [_of(span).get("http.request.resend_count") for span in attempts] == [None, 1, 2]
    assert [_of(span).get("http.response.status_code") for span in attempts] == [503, None, 200]
    assert [_of(span).get("error.type") for span in attempts] == ["503", "ClientConnectionError", None]
    error, unset = Status.STATUS_CODE_ERROR, Status.STATUS_CODE_UNSET
    assert [span.status.code for span in attempts] == [error, error, unset]
    step = collector.one("documents")
    assert [event.name for event in step.events] == ["retried", "retried"]
    assert "HTTP 503" in str(_values(step.events[0].attributes)["message"])
    assert _of(step)["kerutaprep.attempts"] == 3


@pytest.mark.anyio
async def test_the_install_script_can_join(stage: Stage, collector: Collector) -> None:
    """install.sh has its step's span as TRACEPARENT."""
    stage.content.scripts["shop"] = b"#!/bin/sh\necho $TRACEPARENT > joined\n"
    await run_program(stage.command(), **_traced(collector))

    install = collector.one("install")
    assert (stage.work / "joined").read_text() == f"00-{_TRACE}-{install.span_id.hex()}-01\n"


@pytest.mark.anyio
async def test_a_failed_run_is_exported_without_a_secret(stage: Stage, collector: Collector) -> None:
    """A failure's spans arrive, with its message masked; what never started has no span."""
    stage.content.token = "s3cret-token"
    stage.content.scripts["shop"] = b"#!/bin/sh\nexit 3\n"
    denied = b'{"error": {"code": "DENIED", "message": "s3cret-token is not enough"}}'
    stage.api.on("/content", status(403, body=denied))
    ended = await run_program(
        stage.command(),
        **_traced(collector, OTEL_EXPORTER_OTLP_HEADERS="x-key=c0llector-key"),
        KERUTA_API_TOKEN="s3cret-token",
        KERUTA_REPOSITORY_URL=stage.repository_url.replace("://", "://me:passw0rd-1@"),
    )

    assert ended.code == 77
    run, step = collector.one("kerutaprep"), collector.one("documents")
    attempt = collector.one("GET /api/v1/documents/{id}/content")
    for span in (run, step, attempt):
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert "HTTP 403 (DENIED: *** is not enough)" in span.status.message
    assert _of(run).items() >= {"kerutaprep.exit_code": 77, "kerutaprep.outcome": "failed"}.items()
    assert not collector.named("install")
    exported = f"{collector}{collector.resources}"
    assert not any(secret in exported for secret in ("s3cret-token", "passw0rd-1", "c0llector-key"))
    assert collector.headers[0]["x-key"] == "c0llector-key"


@pytest.mark.anyio
async def test_a_stopped_run_is_exported(stage: Stage, collector: Collector) -> None:
    """SIGTERM ends the open spans as cancelled, and they arrive."""
    gate = Gate()
    stage.api.on("/content", gate)
    async with await anyio.open_process(
        stage.command(), stderr=subprocess.DEVNULL, env={**os.environ, **_traced(collector)}
    ) as run:
        await gate.arrived.wait()
        run.send_signal(signal.SIGTERM)
        assert await run.wait() == 143
    gate.opened.set()

    facts = {"kerutaprep.exit_code": 143, "kerutaprep.outcome": "cancelled"}
    assert _of(collector.one("kerutaprep")).items() >= facts.items()
    for name in ("documents", "GET /api/v1/documents/{id}/content"):
        assert _of(collector.one(name))["kerutaprep.status"] == "cancelled"


@pytest.mark.anyio
async def test_the_standard_variables_are_heeded(stage: Stage, collector: Collector) -> None:
    """Resource, service name and sampler come from the variables; without a name the service is kerutaprep."""
    named = {"OTEL_SERVICE_NAME": "prep", "OTEL_RESOURCE_ATTRIBUTES": "k8s.pod.name=task-7"}
    await run_program(stage.command(), **_traced(collector, **named))
    assert collector.resources[0].items() >= {"service.name": "prep", "k8s.pod.name": "task-7"}.items()

    collector.resources.clear()
    await run_program(stage.command(), **_traced(collector))
    assert collector.resources[0]["service.name"] == "kerutaprep"

    collector.spans.clear()
    stage.api.requests.clear()
    ended = await run_program(stage.command(), **_traced(collector, OTEL_TRACES_SAMPLER="always_off"))
    assert ended.code == 0, ended.stderr
    assert not collector.spans
    assert {request.headers["traceparent"][-3:] for request in stage.api.requests} == {"-00"}


@pytest.mark.anyio
async def test_without_a_parent_the_run_is_the_root(stage: Stage, collector: Collector) -> None:
    """A missing or broken TRACEPARENT begins a trace."""
    await run_program(stage.command(), **_traced(collector, TRACEPARENT="00-broken"))
    assert collector.one("kerutaprep").parent_span_id == b""


async def _refuse(_request: web.Request) -> web.Response:
    return web.Response(status=503)


async def _hang(_request: web.Request) -> web.Response:
    await anyio.sleep_forever()
    raise AssertionError


@pytest.mark.anyio
@pytest.mark.parametrize("collector_like", ["nobody", _refuse, _hang])
async def test_a_dead_collector_does_not_matter(stage: Stage, collector_like: object) -> None:
    """Nobody there, an error or no answer: the run succeeds, two seconds later at most, and says so in one line."""
    began = time.monotonic()
    plain = await run_program(stage.command())
    usual = time.monotonic() - began
    application = web.Application()
    if callable(collector_like):
        application.router.add_post("/v1/traces", collector_like)
    async with serve(application) as url:
        endpoint = url if callable(collector_like) else "http://127.0.0.1:9"
        began = time.monotonic()
        ended = await run_program(stage.command(), OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        took = time.monotonic() - began

    assert (plain.code, ended.code) == (0, 0), ended.stderr
    assert took < 2 * usual + 4  # the two seconds, and what a busy machine adds
    assert ended.stderr.count("further warnings are left out") == 1
    assert "Traceback" not in ended.stderr


_OFF = [
    {},
    {"TRACEPARENT": _TRACEPARENT},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    {"OTEL_SERVICE_NAME": "prep"},
]


@pytest.mark.anyio
@pytest.mark.parametrize("variables", _OFF)
async def test_off_loads_nothing(stage: Stage, variables: dict[str, str]) -> None:
    """Without an exporter no module of OpenTelemetry is imported; a parent's context is passed on as it came."""
    state = {"TRACESTATE": "vendor=1"} if variables else {}
    ended = await run_program(stage.command(), PYTHONPROFILEIMPORTTIME="1", **variables, **state)

    assert ended.code == 0, ended.stderr
    assert "kerutaprep.tracing" in ended.stderr
    assert not re.search(r"opentelemetry|kerutaprep\.telemetry|protobuf", ended.stderr)
    for request in stage.api.requests:
        passed = {name: request.headers.get(name) for name in ("traceparent", "tracestate")}
        parent = variables.get("TRACEPARENT")
        assert passed == {"traceparent": parent, "tracestate": "vendor=1" if parent else None}


@pytest.mark.anyio
async def test_the_exporter_by_name_is_enough(stage: Stage, collector: Collector) -> None:
    """OTEL_TRACES_EXPORTER and the endpoint of traces alone switch it on."""
    endpoint = f"{collector.url}/v1/traces"
    await run_program(stage.command(), OTEL_TRACES_EXPORTER="otlp", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=endpoint)
    assert len(collector.named("kerutaprep")) == 1


_WITHOUT_EXTRA = """\
import sys
sys.modules[sys.argv.pop(1)] = None  # what an import finds where it is not installed
from kerutaprep.__main__ import main
main()
"""


@pytest.mark.anyio
@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter"])
async def test_a_missing_extra_is_one_warning(stage: Stage, collector: Collector, missing: str) -> None:
    """Asked for but not installed, tracing is one warning; the run goes on and passes the parent's context on."""
    command = [sys.executable, "-c", _WITHOUT_EXTRA, missing, *stage.command()[3:]]
    ended = await run_program(command, **_traced(collector))

    assert ended.code == 0, ended.stderr
    assert ended.stderr.count("WARNING") == 1
    assert "pip install 'kerutaprep[otel]'" in ended.stderr
    assert {request.headers["traceparent"] for request in stage.api.requests} == {_TRACEPARENT}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "only http/protobuf is spoken"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "OpenTelemetry refuses a variable"),
        ({"OTEL_EXPORTER_OTLP_TIMEOUT": "soon"}, "soon"),
    ],
)
async def test_a_wrong_variable_is_a_warning(
    stage: Stage, collector: Collector, variables: dict[str, str], said: str
) -> None:
    """What the exporter can't do is said, and the run goes on."""
    ended = await run_program(stage.command(), **_traced(collector, **variables))
    assert ended.code == 0, ended.stderr
    assert said in ended.stderr
    assert ended.stderr.count("WARNING") == 1


def test_what_is_a_parent() -> None:
    """Only a valid traceparent is passed on, and a tracestate only beside one."""
    assert parent_headers({"TRACEPARENT": _TRACEPARENT}) == {"traceparent": _TRACEPARENT}
    assert parent_headers({"TRACESTATE": "vendor=1"}) == {}
    for broken in ("", "x", f"ff{_TRACEPARENT[2:]}", f"00-{'0' * 32}-{_PARENT}-01", f"{_TRACEPARENT}\r\nX: y"):
        assert parent_headers({"TRACEPARENT": broken}) == {}
    assert "tracestate" not in parent_headers({"TRACEPARENT": _TRACEPARENT, "TRACESTATE": "a=1\r\nX: y"})


def test_what_the_exporters_variables_hide() -> None:
    """The values of header fields and what an endpoint's URL holds are secrets; a word like ``none`` is not."""
    headers = otlp_secrets("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collector-key,x-tenant=shop")
    assert headers == ["Bearer collector-key", "collector-key"]
    url = "https://me:passw0rd-1@collector:4318/v1/traces?key=query-key-1"
    assert otlp_secrets("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", url) == ["query-key-1", "passw0rd-1"]
    assert otlp_secrets("OTEL_SERVICE_NAME", "a-long-service-name") == []
