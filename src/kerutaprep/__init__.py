"""Gets a Keruta task's work directory ready: clone, documents and install script, concurrently and dependably.

The names are loaded when they are first used, so that the entrypoint can start before all of them are imported.
"""

from __future__ import annotations

from kerutaprep._version import __version__

TYPE_CHECKING = False  # neither typing nor importlib is imported before it is needed: start-up time is a feature
if TYPE_CHECKING:
    from typing import Any

    from kerutaprep.errors import (
        CredentialsError,
        DeadlineError,
        InternalError,
        InTheWayError,
        LockedError,
        NotFoundError,
        PlanError,
        PrepError,
        ProtocolError,
        ScriptError,
        ScriptTimeoutError,
        SettingsError,
        TemporaryError,
        TransportError,
        WorkDirError,
    )
    from kerutaprep.events import StepEvent
    from kerutaprep.git.tree import Checkout
    from kerutaprep.plan import Step
    from kerutaprep.preparation import PrepResult, prepare
    from kerutaprep.report import StepReport
    from kerutaprep.settings import PrepSettings
    from kerutaprep.standalone import GitOptions, clone_repository, download_file

__all__ = [
    "Checkout",
    "CredentialsError",
    "DeadlineError",
    "GitOptions",
    "InTheWayError",
    "InternalError",
    "LockedError",
    "NotFoundError",
    "PlanError",
    "PrepError",
    "PrepResult",
    "PrepSettings",
    "ProtocolError",
    "ScriptError",
    "ScriptTimeoutError",
    "SettingsError",
    "Step",
    "StepEvent",
    "StepReport",
    "TemporaryError",
    "TransportError",
    "WorkDirError",
    "__version__",
    "clone_repository",
    "download_file",
    "prepare",
]

_ELSEWHERE = {
    "Checkout": "git.tree",
    "GitOptions": "standalone",
    "PrepResult": "preparation",
    "PrepSettings": "settings",
    "Step": "plan",
    "StepEvent": "events",
    "StepReport": "report",
    "clone_repository": "standalone",
    "download_file": "standalone",
    "prepare": "preparation",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib  # noqa: PLC0415 - not before it is needed, as above

    module = importlib.import_module(f"{__name__}.{_ELSEWHERE.get(name, 'errors')}")
    value = globals()[name] = getattr(module, name)
    return value
