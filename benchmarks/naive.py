"""The same libraries, everything imported first, then step after step: what one writes without a thought of time.

``python benchmarks/naive.py``; its settings are in ``NAIVE_`` variables.
"""

from __future__ import annotations

import aiofiles
import aiohttp
import anyio
from pydantic_settings import BaseSettings, SettingsConfigDict
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential


class Settings(BaseSettings):
    """Where what is, and where it goes."""

    model_config = SettingsConfigDict(env_prefix="NAIVE_")

    clone_url: str
    script_url: str
    document_url: str
    work_dir: str


async def download(session: aiohttp.ClientSession, url: str, path: anyio.Path) -> None:
    """Download a URL into a file, with retries."""
    async for attempt in AsyncRetrying(
        retry=retry_if_exception_type(aiohttp.ClientError),
        stop=stop_after_attempt(6),
        wait=wait_random_exponential(0.5, 20),
        reraise=True,
    ):
        with attempt:
            async with session.get(url, raise_for_status=True) as response, aiofiles.open(path, "wb") as file:
                async for data in response.content.iter_chunked(64 * 1024):
                    await file.write(data)


async def main() -> None:
    """Clone, exclude, script, install, document."""
    settings = Settings()  # type: ignore[call-arg]  # they come from the environment
    work_dir = anyio.Path(settings.work_dir)
    await anyio.run_process(
        ["git", "clone", "--depth", "1", "--single-branch", settings.clone_url, settings.work_dir], stderr=None
    )
    async with await (work_dir / ".git/info/exclude").open("a") as file:
        await file.write("/.keruta\n")
    await (work_dir / ".keruta").mkdir(exist_ok=True)
    script = work_dir / ".keruta/install.sh"
    async with aiohttp.ClientSession() as session:
        await download(session, settings.script_url, script)
        await script.chmod(0o755)
        await anyio.run_process([str(script)], cwd=work_dir, stdout=None, stderr=None)
        await download(session, settings.document_url, work_dir / ".keruta/README.md")


if __name__ == "__main__":
    anyio.run(main)
