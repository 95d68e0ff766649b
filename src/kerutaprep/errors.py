"""Every error of the package, and the exit code each stands for.

The codes follow ``sysexits.h`` where it has one; ``docs/operations.md`` says what an operator does about each.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing is not imported before git is on its way
if TYPE_CHECKING:
    from typing import ClassVar


class PrepError(Exception):
    """The base of every error that kerutaprep raises.

    Attributes:
        exit_code: the process's exit code for it.
        retryable: whether running again, with nothing changed, may help.
        step: the step that failed, None where it was not in a step.
        errors: every step's error by the time the run ended, this one among them; empty outside of a run.
    """

    exit_code: ClassVar[int] = 70
    retryable: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.step: str | None = None
        self.errors: tuple[PrepError, ...] = ()

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the way between two processes, keyword arguments and attributes too."""
        return _restored, (type(self), self.args, dict(vars(self)))

    def summary(self) -> str:
        """One line that names every step that failed and why."""
        parts = [f"{error.step}: {error}" if error.step else str(error) for error in self.errors or (self,)]
        return " ".join("; ".join(parts).split())


class SettingsError(PrepError, ValueError):
    """A setting is missing or wrong; nothing was touched.

    Attributes:
        problems: one sentence for each bad setting, by flag and variable.
    """

    exit_code = 78

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class PlanError(SettingsError):
    """The steps can't be run as they are: a duplicate name, an unknown need or a cycle."""


class NotFoundError(PrepError):
    """A document, repository, ref or submodule that is not there."""

    exit_code = 66


class InternalError(PrepError):
    """A bug in kerutaprep, or an exception from a step that the caller added; the cause is chained."""

    exit_code = 70


class WorkDirError(PrepError):
    """The work directory can't be used: full, not writable, or something is in the way."""

    exit_code = 74


class InTheWayError(WorkDirError):
    """A checkout would overwrite files that are nobody's but the user's; they are untouched."""


class TemporaryError(PrepError):
    """What a later run may not meet; retries are used up by the time it is raised from ``prepare``."""

    exit_code = 75
    retryable = True


class TransportError(TemporaryError):
    """The network, the API or git's transport failed in a way that is worth another attempt.

    Attributes:
        retry_after: seconds that the server asked us to wait, None where it did not.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineError(TemporaryError):
    """The whole run's deadline passed."""


class LockedError(TemporaryError):
    """Another run held the work directory until the deadline."""


class ProtocolError(PrepError):
    """The peer answered something it must not: HTML for a script, bad JSON, a digest that does not match."""

    exit_code = 76


class CredentialsError(PrepError):
    """The API or the git server refused the credentials, or there were none to give."""

    exit_code = 77


class ScriptError(PrepError):
    """The install script ended with a failure.

    Attributes:
        status: its exit status; negative for the number of the signal that ended it.
    """

    exit_code = 1

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class ScriptTimeoutError(PrepError):
    """The install script ran longer than it may."""

    exit_code = 124


def _restored(kind: type[PrepError], arguments: tuple[object, ...], attributes: dict[str, object]) -> PrepError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    vars(error).update(attributes)
    return error
