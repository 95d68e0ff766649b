"""``prepare``: puts the plan together, runs it, and leaves the report."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple

import anyio
import anyio.to_thread

from kerutaprep.api.tls import require_certificates
from kerutaprep.errors import DeadlineError, LockedError, PrepError
from kerutaprep.events import EventKind, Recorder, StepEvent
from kerutaprep.git.command import require_git, require_lfs
from kerutaprep.git.program import Git
from kerutaprep.git.worktree import Worktree
from kerutaprep.headstart import HeadStart
from kerutaprep.plan import Plan, Step
from kerutaprep.preplog import PrepLog
from kerutaprep.process import stop_abandoned
from kerutaprep.report import StepReport, make_report, write_report
from kerutaprep.retry import RetryPolicy, retrying
from kerutaprep.runner import run_plan
from kerutaprep.settings import mask_login
from kerutaprep.tracing import UNTRACED
from kerutaprep.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    import aiohttp

    from kerutaprep.api.client import KerutaAPI
    from kerutaprep.events import StepRecord
    from kerutaprep.git.tree import Checkout
    from kerutaprep.install import InstallScript
    from kerutaprep.names import CloneURL
    from kerutaprep.report import Outcome, Report
    from kerutaprep.settings import PrepSettings
    from kerutaprep.tracing import Tracer

STEPS = ("workspace", "repository", "clone", "exclude", "documents", "script", "install")
"""The steps of every run, in the order in which they are reported."""
_TERMINATED = 143
_LONGEST_HEAD_START = 0.5
"""Seconds that git is waited for before the HTTP stack is loaded: more than it takes to start it."""


class PrepResult(NamedTuple):
    """What a run that succeeded leaves behind."""

    commit: str
    """The id of the commit that is checked out."""
    ref: str
    """The resolved name: of the branch or tag, else the commit id."""
    seconds: float
    steps: tuple[StepReport, ...]
    """As in ``prep.json``."""
    work_dir: Path

    @property
    def bytes(self) -> int:
        """What was downloaded, git's own traffic aside."""
        return sum(step["bytes"] for step in self.steps)


async def prepare(
    settings: PrepSettings,
    session: aiohttp.ClientSession | None = None,
    on_event: Callable[[StepEvent], None] | None = None,
    extra_steps: Iterable[Step] = (),
) -> PrepResult:
    """Get a work directory ready: clone, exclude, documents and install script, as concurrently as they can be.

    Reads no environment, installs no signal handler, configures no logging, never changes the working directory; any
    number of calls may run at a time. Events are logged to the logger ``kerutaprep``.

    Args:
        settings: what to do.
        session: makes the API's requests; it is not closed, and its connection limit holds. None: one of our own.
        on_event: called with each event of each step, in the event loop.
        extra_steps: run as part of the plan, waiting for whatever steps they name.

    Returns:
        what is ready.

    Raises:
        PlanError: the extra steps don't fit the plan; nothing was touched.
        PrepError: a step failed; ``errors`` holds each step's error. The report and the log are in ``.keruta``, and no
            process is left. On cancellation the same holds: every process got SIGTERM, after five seconds SIGKILL.
    """
    return await Run(settings, session, on_event, extra_steps).execute()


class Run:
    """One run, from the lock to the report.

    Args:
        settings: what to do.
        session: as in ``prepare``.
        on_event: as in ``prepare``.
        extra_steps: as in ``prepare``.
        cancelled_code: the exit code to report where the run is cancelled, asked when it is.
        head_start: what was started before; what the run does not take is stopped by its end.
        tracer: told of each step and of each HTTP attempt.
    """

    def __init__(  # noqa: PLR0913 - what ``prepare`` takes, and what only the program that owns the process has
        self,
        settings: PrepSettings,
        session: aiohttp.ClientSession | None = None,
        on_event: Callable[[StepEvent], None] | None = None,
        extra_steps: Iterable[Step] = (),
        *,
        cancelled_code: Callable[[], int] = lambda: _TERMINATED,
        head_start: HeadStart | None = None,
        tracer: Tracer = UNTRACED,
    ) -> None:
        require_lfs(settings)
        require_git(settings)
        require_certificates(settings.api_url, settings.environment)
        self._head_start = head_start or HeadStart()
        self._settings = settings
        self._session = session
        self._cancelled_code = cancelled_code
        self._log = PrepLog()
        self.recorder = Recorder(settings.masker(), on_event, self._log.write, tracer, self._head_start.begun)
        claim = self._head_start.take_claim()
        self._workspace = Workspace(settings.work_dir, group_write=settings.group_write, claim=claim)
        self._policy = RetryPolicy(retries=settings.retries)
        self._checkout: Checkout | None = None
        self._plan = Plan(*self._own_steps(), *extra_steps)
        self.recorder.add(sorted((step.name for step in self._plan), key=_report_order))
        clone = self._record("clone")
        self._git_on_its_way = anyio.Event()
        git = Git(
            settings,
            self.recorder.masker,
            clone,
            self._workspace,
            on_its_way=self._git_on_its_way.set,
            head_start=self._head_start,
        )
        self._worktree = Worktree(git, self._workspace, self._policy, clone)
        self._api_opened = anyio.Event()
        self._api: KerutaAPI
        self._script: InstallScript
        self._url: CloneURL
        self._branch: str | None = None

    @property
    def checkout(self) -> Checkout | None:
        """What is checked out, None until it is."""
        return self._checkout

    async def execute(self) -> PrepResult:
        """Do it; raises and leaves what ``prepare`` says."""
        self.recorder.run_event("started", f"preparing {self._settings.work_dir}")
        deadline = anyio.current_time() - self.recorder.now() + (self._settings.deadline or math.inf)
        async with AsyncExitStack() as held:
            with anyio.CancelScope(deadline=deadline) as scope:
                await held.enter_async_context(self._workspace.locked(self._waiting))
            if scope.cancelled_caught:
                raise LockedError(
                    f"another run held {self._settings.work_dir} until the deadline of {self._settings.deadline:g} s"
                )
            return await self._execute_locked(deadline)

    def _waiting(self) -> None:
        self.recorder.run_event("progress", f"waiting for another run on {self._settings.work_dir}")

    async def _execute_locked(self, deadline: float) -> PrepResult:
        try:
            with anyio.CancelScope(deadline=deadline) as scope:
                try:
                    # Nobody else's: the lock is ours.
                    await stop_abandoned(self._workspace.identity, self._head_start.process_ids)
                    await self._run_plan()
                finally:
                    await self._stop_head_start()
            if scope.cancelled_caught:
                raise self._deadline_error()
            report = await self._leave("succeeded", 0, "ready")
        except PrepError as error:
            with anyio.CancelScope(shield=True):
                await self._leave_anyway("failed", error.exit_code, f"failed: {error.summary()}")
            raise
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._leave_anyway("cancelled", self._cancelled_code(), "cancelled")
            raise
        checkout = self._checkout
        assert checkout is not None  # noqa: S101 - the plan succeeded, so its clone did
        return PrepResult(
            checkout.commit, checkout.ref, report["seconds"], tuple(report["steps"]), self._settings.work_dir
        )

    async def _run_plan(self) -> None:
        async with AsyncExitStack() as stack:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._log.keep_writing)
                tasks.start_soon(self._open_api, stack)
                failure = None
                try:
                    await run_plan(self._plan, self.recorder.steps)
                except PrepError as error:  # raised below: from inside the group it would arrive wrapped
                    failure = error
                tasks.cancel_scope.cancel()
            if failure is not None:
                raise failure

    async def _stop_head_start(self) -> None:
        """Stop what a run that ended early did not take: it works among the parts, which are removed next."""
        if self._head_start.process_ids:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._head_start.stop_commands)

    async def _open_api(self, stack: AsyncExitStack) -> None:
        """Load what HTTP needs, which takes longer than all else at the start: while git is at work, if it can be."""
        if self._settings.repository_url:
            with anyio.move_on_after(_LONGEST_HEAD_START):
                await self._git_on_its_way.wait()
        from kerutaprep.api.client import KerutaAPI, new_session  # noqa: PLC0415 - as said above
        from kerutaprep.install import InstallScript  # noqa: PLC0415 - likewise

        if self._session is None:
            self._session = await stack.enter_async_context(new_session(self._settings))
        self._script = InstallScript(self._settings, self._workspace, self.recorder.masker)
        self._api = KerutaAPI(self._settings, self._session, self.recorder, self._head_start)
        self._api_opened.set()

    def _deadline_error(self) -> DeadlineError:
        unfinished = [step.name for step in self.recorder.steps.values() if step.status == "cancelled"]
        error = DeadlineError(
            f"the deadline of {self._settings.deadline:g} s passed before these were done: {', '.join(unfinished)}"
        )
        error.errors = (error,)
        return error

    async def _leave_anyway(self, outcome: Outcome, exit_code: int, message: str) -> None:
        """Leave the report of a run that failed already: that the report fails, too, would hide why."""
        try:
            await self._leave(outcome, exit_code, message)
        except PrepError as error:
            self.recorder.run_event("failed", f"the report can't be written: {error}")

    async def _leave(self, outcome: Outcome, exit_code: int, message: str) -> Report:
        checkout = self._checkout
        report = make_report(
            self.recorder,
            outcome,
            exit_code,
            commit=checkout.commit if checkout else None,
            ref=checkout.ref if checkout else None,
        )
        kind: EventKind = "finished" if outcome == "succeeded" else outcome
        self.recorder.run_event(kind, f"{message} after {report['seconds']:.2f} s")
        workspace = self._workspace
        if workspace.ready.is_set():
            try:
                await workspace.empty_parts()  # first of all, since it may make the room that the report needs
                await self._log.close()
                part = workspace.parts / "report"
                await anyio.to_thread.run_sync(write_report, report, part)
                await workspace.publish(part, workspace.report)
            finally:
                with anyio.CancelScope(shield=True):
                    await workspace.remove_parts()
        else:  # stopped before its directories were made sure of, but a head start may have worked among its parts
            with anyio.CancelScope(shield=True):
                await workspace.remove_parts()
        return report

    def _own_steps(self) -> tuple[Step, ...]:
        # Small requests first: they then don't queue for a connection behind the documents.
        install_needs = {"clone", "exclude", "script"}
        if self._settings.install_after == "documents":
            install_needs.add("documents")
        return (
            Step(name="workspace", run=self._make_workspace),
            Step(name="repository", run=self._look_up_repository),
            Step(name="script", run=self._download_script),
            Step(name="clone", needs={"repository"}, run=self._clone),
            Step(name="exclude", needs={"clone"}, run=self._exclude),
            Step(name="documents", run=self._download_documents),
            Step(name="install", needs=install_needs, run=self._install),
        )

    async def _make_workspace(self) -> None:
        with anyio.CancelScope(shield=True):  # it takes a moment, and without it there is no place for the report
            await self._workspace.make()
            await self._log.open(self._workspace)

    async def _look_up_repository(self) -> None:
        record = self._record("repository")
        given = self._settings.clone_url
        if given is not None:
            self._url = given
            record.skip("the clone URL was given")
            return
        await self._api_opened.wait()
        self._url, self._branch = await retrying(lambda _: self._api.look_up_repository(), self._policy, record)
        mask_login(self._url, self.recorder.masker)

    async def _clone(self) -> None:
        self._checkout = await self._worktree.clone(self._url, self._settings.ref or self._branch)
        self._record("clone").detail = f"{self._checkout.commit[:12]} of {self._checkout.ref}"

    async def _exclude(self) -> None:
        await self._worktree.exclude()

    async def _download_documents(self) -> None:
        await self._api_opened.wait()
        from kerutaprep.api.documents import download_documents  # noqa: PLC0415 - as in _open_api

        await download_documents(self._settings, self._workspace, self._api, self._policy, self._record("documents"))

    async def _download_script(self) -> None:
        await self._api_opened.wait()
        await self._script.download(self._api, self._policy, self._record("script"))

    async def _install(self) -> None:
        await self._script.run(self._record("install"))

    def _record(self, step: str) -> StepRecord:
        return self.recorder.steps[step]


def _report_order(name: str) -> int:
    return STEPS.index(name) if name in STEPS else len(STEPS)
