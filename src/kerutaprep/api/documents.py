"""The task's documents: downloaded side by side, each published once it is whole."""

from __future__ import annotations

import shutil
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from kerutaprep.api.download import Download
from kerutaprep.api.request import document_path
from kerutaprep.runner import run_together
from kerutaprep.workspace import disk_errors, link_or_copy

if TYPE_CHECKING:
    from pathlib import Path

    from kerutaprep.api.client import KerutaAPI
    from kerutaprep.events import StepRecord
    from kerutaprep.retry import RetryPolicy
    from kerutaprep.settings import PrepSettings
    from kerutaprep.workspace import Workspace


_LARGEST_COPY = 64 * 1024 * 1024
"""Bytes up to which README.md is a file of its own, that may be edited; beyond, it is a second name of the document."""


async def download_documents(
    settings: PrepSettings, workspace: Workspace, api: KerutaAPI, policy: RetryPolicy, record: StepRecord
) -> None:
    """Download every document; the first is published as ``README.md``, too.

    Raises:
        NotFoundError: there is no such document.
        PrepError: as ``Download.run``.
    """
    if not settings.document_ids:
        record.skip("the task has no documents")
        return
    downloads: list[Download] = []
    published: list[int] = []
    record.measure = lambda: _fraction(downloads, len(settings.document_ids))
    limiter = anyio.CapacityLimiter(settings.max_connections)

    async def one(number: int, document_id: str) -> None:
        async with limiter:
            download = Download(
                api,
                document_path(document_id),
                lambda: workspace.parts / f"document-{number}",
                what=f"document {document_id!a}",
                record=record,
                ready=workspace.ready.wait,
            )
            downloads.append(download)
            part = await download.run(policy)
            await workspace.ready.wait()
            async with workspace.publishing:
                await anyio.to_thread.run_sync(_publish, workspace, part, number, document_id)
            published.append(number)
            if len(settings.document_ids) > 1:
                record.state = f"{len(published)} of {len(settings.document_ids)} documents"

    await run_together(*(partial(one, number, document_id) for number, document_id in enumerate(settings.document_ids)))


def _fraction(downloads: list[Download], count: int) -> float | None:
    """How much is done of so many documents, of which each counts the same; None where no length is known."""
    known = [fraction for download in downloads if (fraction := download.fraction) is not None]
    return sum(known) / count if known else None


def _publish(workspace: Workspace, received: Path | None, number: int, document_id: str) -> None:
    part = received or workspace.parts / f"document-{number}"
    if received is None:
        with disk_errors("writing", part):
            part.write_bytes(b"")
    if number == 0:
        readme = workspace.parts / "readme"
        with disk_errors("writing", readme):
            if part.stat().st_size > _LARGEST_COPY:
                link_or_copy(part, readme)
            else:
                shutil.copyfile(part, readme)
        workspace.publish_now(readme, workspace.readme)
    workspace.publish_now(part, workspace.document(document_id))
