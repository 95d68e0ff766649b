"""What most tests need: a keruta API and a git server on loopback, and settings that point at them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.fakes import Stage, open_stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


hypothesis.settings.register_profile("patient", deadline=None)  # the machine may be slow
hypothesis.settings.load_profile("patient")


@pytest.fixture
def anyio_backend() -> str:
    """Only asyncio: aiohttp runs on nothing else."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the machine's own settings, proxies and git configuration out of the tests."""
    for name in list(os.environ):
        if name.startswith(("KERUTA_", "GIT_", "OTEL_", "TRACE")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A repository, a document and a script, served; nothing delayed, nothing broken."""
    async with open_stage(tmp_path) as opened:
        yield opened
