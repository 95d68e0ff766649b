"""What a ref is on the remote, and its commits in a git directory: one round of requests for any kind of ref."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from kerutaprep.errors import NotFoundError, PrepError, ProtocolError, TransportError
from kerutaprep.git.command import PACKET_TRACE, branch_arguments, fetch_arguments
from kerutaprep.names import is_commit_id
from kerutaprep.retry import retrying
from kerutaprep.runner import run_together

if TYPE_CHECKING:
    from pathlib import Path

    from kerutaprep.events import StepRecord
    from kerutaprep.git.program import Git
    from kerutaprep.names import CloneURL
    from kerutaprep.retry import RetryPolicy

_EVERYTHING = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
_DEEPER = (50, 500, 5000)
ALL = 2**31 - 1
"""Git's own word for a depth without end (git-fetch(1), --unshallow)."""
_FETCHED = re.compile(r"(?P<id>[0-9a-f]{40,64})\t[^\t]*\t(?:(?P<kind>branch|tag) )?(?:'(?P<name>.+)' of )?")
_SYMREF = re.compile(r"\bHEAD symref-target:refs/heads/(\S+)|\bsymref=HEAD:refs/heads/(\S+)")
_LS_REMOTE_SYMREF = re.compile(r"^ref: refs/heads/(\S+)\tHEAD$", re.MULTILINE)


class Tip(NamedTuple):
    """A ref as it was found."""

    commit: str
    kind: Literal["branch", "tag", "other"]
    """``other`` is a commit id, or a ref outside of ``refs/heads`` and ``refs/tags``."""
    name: str
    """The branch's or tag's short name, else the ref or commit id."""
    object_id: str
    """The commit, or the annotated tag's own object."""
    is_default: bool = False
    """Whether it is what the remote's HEAD names."""


class Tips(NamedTuple):
    """What one run asked for."""

    base: Tip
    work: Tip | None
    """The work branch, where the remote has it."""


class Listing(NamedTuple):
    """What a server says its refs are."""

    default: str | None
    """The branch that HEAD names."""
    refs: dict[str, str]
    """The object of each by its full name."""

    @classmethod
    def parse(cls, text: str) -> Listing:
        """Read what ``listing_arguments`` print."""
        found = _LS_REMOTE_SYMREF.search(text)
        lines = (line.partition("\t") for line in text.splitlines() if not line.startswith("ref: "))
        return cls(found[1] if found else None, {name: object_id for object_id, _, name in lines})

    def tips(self, ref: str | None, work_branch: str | None) -> Tips | None:
        """The tips where the ref is a branch, as a fetch would give them; None where only a fetch can tell."""
        name = ref or self.default
        commit = self.refs.get(f"refs/heads/{ref}" if ref else "HEAD")
        if name is None or commit is None:
            return None
        base = Tip(commit, "branch", name, commit, is_default=ref is None)
        work = self.refs.get(f"refs/heads/{work_branch}")
        return Tips(base, Tip(work, "branch", work_branch, work) if work and work_branch else None)


class Remote:
    """One repository on its server, as one run of one git directory sees it.

    Args:
        git: runs the commands.
        url: where the repository is.
        git_dir: fetches go there.
        policy: for what fails in transport.
        record: told of attempts.
    """

    def __init__(self, git: Git, url: CloneURL, git_dir: Path, policy: RetryPolicy, record: StepRecord) -> None:
        self._git = git
        self.url = url
        self._git_dir = git_dir
        self._retried = (policy, record)

    async def fetch(self, ref: str | None, work_branch: str | None, *, depth: int) -> Tips:
        """Fetch a ref, and a work branch if the remote has it.

        Args:
            ref: branch, tag, full ref or commit id; None for the remote's default branch.
            work_branch: looked for at the same time, so that its absence, the usual case, costs no time.
            depth: commits of history; 0 for all that is missing.

        Raises:
            NotFoundError: the remote has no such ref, or no commit at all.
            PrepError: as ``Git.run``.
        """
        work_exists = False
        base: list[Tip] = []

        async def fetch_base() -> None:
            base.append(await self._fetch_tip(ref, depth))

        async def look_for_work_branch() -> None:
            nonlocal work_exists
            listing = await self._remote(*branch_arguments(self.url, str(work_branch)))
            work_exists = f"\trefs/heads/{work_branch}\n" in listing

        await run_together(fetch_base, *([look_for_work_branch] if work_branch else []))
        work = await self._fetch_tip(f"refs/heads/{work_branch}", depth) if work_exists else None
        return Tips(base[0], work)

    async def _fetch_tip(self, ref: str | None, depth: int) -> Tip:
        try:
            said = await retrying(lambda _: self._fetch_once(ref or "HEAD", depth), *self._retried)
        except NotFoundError as error:
            if ref and is_commit_id(ref) and "unadvertised" in str(error):
                return await self._deepen_until(ref, depth)
            raise NotFoundError(f"{_ref_in_words(ref)} was not found in {self.url.text}: {error}") from error
        tip = await self._read_tip(ref)
        if tip.kind == "tag" and ref == tip.name and re.search(rf"< [0-9a-f]+ refs/heads/{re.escape(ref)}\s", said):
            return await self._fetch_tip(f"refs/heads/{ref}", depth)  # git prefers the tag, people mean the branch
        if ref is None:
            found = _SYMREF.search(said)
            branch = (found[1] or found[2]) if found else await self._ask_default_branch()
            if branch:
                return tip._replace(kind="branch", name=branch, is_default=True)
        return tip

    async def _fetch_once(self, ref: str, depth: int) -> str:
        """Make one attempt, and give what was said on the wire.

        That shows which branch HEAD is, which git shows nowhere else (git(1), GIT_TRACE_PACKET). It also shows whether
        the server's list of refs came to its end: git itself takes one that was cut for a list without the ref.
        """
        packets = self._git_dir / PACKET_TRACE
        arguments = fetch_arguments(self.url, ref, depth=depth)
        try:
            await self._git.run(*arguments, at=self._git_dir, url=self.url, extra={"GIT_TRACE_PACKET": str(packets)})
        except NotFoundError as error:
            said = _read(packets)
            _, asked, answered = said.rpartition("command=ls-refs")
            if "remote ref" in str(error) and "fetch< 0000" not in (answered if asked else said):
                raise TransportError(f"{self.url.text}: the list of refs was cut short") from error
            raise
        else:
            return _read(packets)
        finally:
            packets.unlink(missing_ok=True)

    async def _deepen_until(self, commit: str, depth: int) -> Tip:
        """Fetch more and more of every branch and tag until a commit that the server won't give by its id is there."""
        for reach in (*(step for step in _DEEPER if depth and step > depth), ALL):
            await self._remote(*fetch_arguments(self.url, *_EVERYTHING, depth=reach))
            try:
                await self._git.run("cat-file", "-e", f"{commit}^{{commit}}", at=self._git_dir)
            except PrepError:
                continue
            return Tip(commit, "other", commit, commit)
        raise NotFoundError(f"{_ref_in_words(commit)} was not found in any branch or tag of {self.url.text}")

    async def _read_tip(self, ref: str | None) -> Tip:
        line = (self._git_dir / "FETCH_HEAD").read_text(errors="surrogateescape").partition("\n")[0]
        found = _FETCHED.match(line)
        if not found:
            raise ProtocolError(f"git fetched {_ref_in_words(ref)} as {line!a}, which makes no sense")
        if ref is None or found["kind"] == "branch":
            # What a branch names is a commit, so there is nothing to look up.
            return Tip(found["id"], "branch" if ref else "other", found["name"] or found["id"], found["id"])
        try:
            commit = await self._git.run(
                "rev-parse", "--verify", "--quiet", f"{found['id']}^{{commit}}", at=self._git_dir
            )
        except PrepError as error:
            raise NotFoundError(f"{_ref_in_words(ref)} names no commit") from error
        if is_commit_id(ref):
            return Tip(commit.strip(), "other", commit.strip(), found["id"])
        return Tip(
            commit.strip(),
            "tag" if found["kind"] == "tag" else "other",
            found["name"] or commit.strip(),
            found["id"],
        )

    async def _ask_default_branch(self) -> str | None:
        listing = await self._remote("ls-remote", "--symref", self.url.text, "HEAD")
        found = _LS_REMOTE_SYMREF.search(listing)
        return found[1] if found else None

    async def _remote(self, *arguments: str) -> str:
        async def attempt(_number: int) -> str:
            return await self._git.run(*arguments, at=self._git_dir, url=self.url)

        return await retrying(attempt, *self._retried)


def _read(packets: Path) -> str:
    return packets.read_text(errors="replace") if packets.exists() else ""


def _ref_in_words(ref: str | None) -> str:
    return f"the ref {ref!a}" if ref else "a default branch with a commit"
