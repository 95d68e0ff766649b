"""The settings' names: for each one its flag, its variables, what it may be, its default and its line of help.

Imports nothing heavy: the program checks its settings before anything else is loaded.
"""

from __future__ import annotations

from kerutaprep import values

TYPE_CHECKING = False  # typing is not imported before git is on its way
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Literal

    from kerutaprep.values import Check


class Option:
    """One setting under all of its names.

    Attributes:
        field: the field of ``PrepSettings``.
        flag: None for a secret: a command line is visible to everyone on the machine.
        variables: in order of precedence.
        help: a line that says what it is.
        check: what it may be; one of ``values``.
        default: what it is where it is not given; None for none.
        kind: a switch may stand without a value, a repeated flag adds to a list.
    """

    __slots__ = ("check", "default", "field", "flag", "help", "kind", "variables")

    def __init__(  # noqa: PLR0913, PLR0917 - a setting has these properties
        self,
        field: str,
        flag: str | None,
        variables: tuple[str, ...],
        help: str,  # noqa: A002 - the field's own term
        check: Check,
        default: object = None,
        kind: Literal["value", "repeat", "switch"] = "value",
    ) -> None:
        self.field, self.flag, self.variables, self.help = field, flag, variables, help
        self.check, self.default, self.kind = check, default, kind

    def __str__(self) -> str:
        return " / ".join(filter(None, (self.flag, *self.variables)))

    def value_in(self, environment: Mapping[str, str]) -> str | None:
        """What the environment says; an empty optional variable is unset."""
        present = [environment[variable] for variable in self.variables if variable in environment]
        if self.field in EMPTY_IS_A_VALUE:
            return next(filter(None, present), present[0] if present else None)
        return next(filter(None, present), None)


EMPTY_IS_A_VALUE = frozenset({"document_ids"})
"""Settings whose empty value says something: this task has no documents."""

REQUIRED = frozenset({"repository_id", "document_ids", "api_url"})
"""An empty flag for one of these is kept, so that its absence is reported as what it is."""

_ID, _SECRET = values.text(values.an_id), values.text(values.secret_for_header)
_TEXT, _FILE = values.text(values.anything), values.readable_file

OPTIONS = (
    Option("repository_id", "--repository-id", ("KERUTA_REPOSITORY_ID",), "the task's repository in keruta-api", _ID),
    Option(
        "document_ids",
        "--document-id",
        ("KERUTA_DOCUMENT_ID",),
        "a document of the task; several: repeat it, or separate them by commas; empty: none",
        values.several(values.an_id),
        kind="repeat",
    ),
    Option(
        "api_url",
        "--api-url",
        ("KERUTA_API_ENDPOINT", "KERUTA_API_URL"),
        "where keruta-api answers",
        values.text(values.api_url),
    ),
    Option("work_dir", "--work-dir", ("KERUTA_WORK_DIR",), "the directory to get ready", values.path, "/work"),
    Option("api_token", None, ("KERUTA_API_TOKEN",), "the API's bearer token", _SECRET),
    Option("api_token_file", None, ("KERUTA_API_TOKEN_FILE",), "a file with it, read for each attempt", _FILE),
    Option(
        "repository_url",
        "--repository-url",
        ("KERUTA_REPOSITORY_URL",),
        "the clone URL [asked of the API]",
        values.text(values.clone_url),
    ),
    Option(
        "ref",
        "--ref",
        ("KERUTA_REPOSITORY_REF",),
        "a branch, tag or full commit id [the default branch]",
        values.text(values.a_ref),
    ),
    Option(
        "work_branch",
        "--work-branch",
        ("KERUTA_WORK_BRANCH",),
        "a branch to create on the ref, or to continue",
        values.text(values.a_branch),
    ),
    Option(
        "depth",
        "--depth",
        ("KERUTA_GIT_DEPTH",),
        "commits of history; 0: all of it",
        values.whole_number(0, 2**31 - 1),
        1,
    ),
    Option(
        "submodules",
        "--submodules",
        ("KERUTA_GIT_SUBMODULES",),
        "no, yes or recursive",
        values.one_of("no", "yes", "recursive"),
        "no",
    ),
    Option("lfs", "--lfs", ("KERUTA_GIT_LFS",), "fetch what git-lfs keeps", values.switch, False, "switch"),
    Option(
        "git_cache_dir",
        "--git-cache-dir",
        ("KERUTA_GIT_CACHE_DIR",),
        "bare mirrors that many pods may share",
        values.path,
    ),
    Option(
        "sparse_paths",
        "--sparse-path",
        ("KERUTA_GIT_SPARSE_PATHS",),
        "check out only this directory (and those given besides) [all]",
        values.several(values.sparse_path),
        (),
        "repeat",
    ),
    Option("git_username", None, ("KERUTA_GIT_USERNAME", "GIT_USERNAME"), "the git server's user", _TEXT),
    Option("git_token", None, ("KERUTA_GIT_TOKEN", "GIT_PASSWORD"), "its password or token", _TEXT),
    Option("git_token_file", None, ("KERUTA_GIT_TOKEN_FILE",), "a file with it, read for each attempt", _FILE),
    Option("ssh_key_file", "--ssh-key-file", ("KERUTA_GIT_SSH_KEY_FILE",), "the private key for an ssh URL", _FILE),
    Option(
        "ssh_known_hosts_file",
        "--ssh-known-hosts-file",
        ("KERUTA_GIT_SSH_KNOWN_HOSTS_FILE",),
        "the host keys that ssh accepts",
        _FILE,
    ),
    Option(
        "on_existing",
        "--on-existing",
        ("KERUTA_ON_EXISTING",),
        "an existing clone: update, reset, fail",
        values.one_of("update", "reset", "fail"),
        "update",
    ),
    Option(
        "install_after",
        "--install-after",
        ("KERUTA_INSTALL_AFTER",),
        "script or documents",
        values.one_of("script", "documents"),
        "script",
    ),
    Option(
        "script_sha256",
        "--script-sha256",
        ("KERUTA_SCRIPT_SHA256",),
        "run the script only with this digest",
        values.text(values.sha256),
    ),
    Option(
        "script_timeout",
        "--script-timeout",
        ("KERUTA_TIMEOUT",),
        "seconds that install.sh may run",
        values.seconds,
        1800.0,
    ),
    Option("deadline", "--deadline", ("KERUTA_DEADLINE",), "seconds for the whole run [none]", values.seconds),
    Option(
        "retries", "--retries", ("KERUTA_RETRY_COUNT",), "attempts after the first", values.whole_number(0, 1000), 5
    ),
    Option(
        "connect_timeout",
        "--connect-timeout",
        ("KERUTA_CONNECT_TIMEOUT",),
        "seconds to connect",
        values.seconds,
        10.0,
    ),
    Option("read_timeout", "--read-timeout", ("KERUTA_READ_TIMEOUT",), "seconds without a byte", values.seconds, 30.0),
    Option(
        "max_connections",
        "--max-connections",
        ("KERUTA_MAX_CONNECTIONS",),
        "to the API, at a time",
        values.whole_number(1, 10_000),
        16,
    ),
    Option(
        "group_write",
        "--group-write",
        ("KERUTA_GROUP_WRITE",),
        "make everything group-writable",
        values.switch,
        False,
        "switch",
    ),
    Option(
        "log_level",
        "--log-level",
        ("KERUTA_LOG_LEVEL",),
        "DEBUG, INFO, WARNING or ERROR",
        values.one_of("DEBUG", "INFO", "WARNING", "ERROR"),
        "INFO",
    ),
    Option(
        "log_format",
        "--log-format",
        ("KERUTA_LOG_FORMAT",),
        "auto, text or json",
        values.one_of("auto", "text", "json"),
        "auto",
    ),
    Option("termination_log", None, ("KERUTA_TERMINATION_LOG",), "where the pod's last words go", values.path),
)

BY_FIELD = {option.field: option for option in OPTIONS}


def check_all(given: Mapping[str, object], environment: Mapping[str, str]) -> dict[str, object] | None:
    """Every setting as it is used, where all of them are right; an argument wins over the environment.

    Args:
        given: arguments by field.
        environment: the process's.

    Returns:
        the value of each field; None where any is wrong or missing, which ``PrepSettings`` then tells of.
    """
    checked = {}
    for option in OPTIONS:
        value = given.get(option.field, option.value_in(environment))
        if value is None:
            if option.field in REQUIRED:
                return None
            checked[option.field] = option.default
            continue
        try:
            values.refuse_unexpanded(value)
            checked[option.field] = option.check(value)
        except ValueError:
            return None
    return checked


def options_help() -> str:
    """The table of settings for ``--help``."""
    lines = []
    for option in OPTIONS:
        lines.append(f"  {option.flag or '(no flag)':<24}{', '.join(option.variables)}")
        default = f" [{_in_words(option.default)}]" if option.default not in (None, ()) else ""
        lines.append(f"  {'':<24}  {option.help}{default}")
    return "\n".join(lines)


def _in_words(default: object) -> str:
    return "off" if default is False else f"{default:g}" if isinstance(default, float) else str(default)
