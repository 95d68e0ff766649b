"""``prep.log``: what was logged, kept beside the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import aiofiles
import anyio

from kerutaprep.errors import WorkDirError
from kerutaprep.workspace import disk_errors

if TYPE_CHECKING:
    from aiofiles.threadpool.text import AsyncTextIOWrapper

    from kerutaprep.workspace import Workspace


class PrepLog:
    """Takes lines at any time and writes them as soon as there is a place for them."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._news = anyio.Event()
        self._file: AsyncTextIOWrapper | None = None
        self._failure: WorkDirError | None = None

    def write(self, line: str) -> None:
        """Take a line; it is written a moment later."""
        self._lines.append(line)
        self._news.set()

    async def open(self, workspace: Workspace) -> None:
        """Begin a new log in the place of an earlier one; lines taken before are not lost.

        Raises:
            WorkDirError: the file can't be made.
        """
        part = workspace.parts / "log"
        with disk_errors("making", part):
            self._file = await aiofiles.open(part, "w", encoding="utf-8", errors="backslashreplace")
        await workspace.publish(part, workspace.log)

    async def keep_writing(self) -> None:
        """Write what comes until cancelled; where the disk refuses, ``close`` says so."""
        while self._failure is None:
            await self._news.wait()
            self._news = anyio.Event()
            try:
                await self._flush()
            except WorkDirError as error:
                self._failure = error

    async def close(self) -> None:
        """Write what is left and close the file, if it was opened.

        Raises:
            WorkDirError: something could not be written, now or before.
        """
        if self._file is not None:
            file, self._file = self._file, None
            try:
                with disk_errors("writing", Path(str(file.name))):
                    await file.write("".join(f"{line}\n" for line in self._lines))
            finally:
                with disk_errors("closing", Path(str(file.name))):
                    await file.close()
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    async def _flush(self) -> None:
        if self._file is None or not self._lines:
            return
        lines, self._lines = self._lines, []
        with anyio.CancelScope(shield=True), disk_errors("writing", Path(str(self._file.name))):
            await self._file.write("".join(f"{line}\n" for line in lines))
            await self._file.flush()
