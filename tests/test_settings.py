"""Settings: where each may come from, and what is wrong with a bad one."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from pydantic import SecretStr, ValidationError

from kerutaprep import PrepSettings
from kerutaprep.arguments import parse_arguments
from kerutaprep.errors import CredentialsError, SettingsError
from kerutaprep.masking import MASK

if TYPE_CHECKING:
    from collections.abc import Mapping

_REQUIRED = {"repository_id": "repo-1", "document_ids": ["doc-1"], "api_url": "http://api"}
_SECRET = "s3cret-t0ken"


def _settings(**values: Any) -> PrepSettings:
    return PrepSettings(**_REQUIRED | values)


class _Row(NamedTuple):
    """A row of the contract's table."""

    flag: str | None
    variable: str
    field: str
    word: str
    """As a flag or variable gives it."""
    value: object
    """What it means."""
    default: object = None


_FILE = Path(__file__)
_DIGEST = "0a" * 32
_REQUIRED_ROWS = [
    _Row("--repository-id", "KERUTA_REPOSITORY_ID", "repository_id", "repo 2/é", "repo 2/é"),
    _Row("--document-id", "KERUTA_DOCUMENT_ID", "document_ids", "a, b,,a", ("a", "b")),
    _Row("--api-url", "KERUTA_API_ENDPOINT", "api_url", "http://gw:8080/keruta/", "http://gw:8080/keruta"),
    _Row("--api-url", "KERUTA_API_URL", "api_url", "https://api", "https://api"),
]
_OPTIONAL_ROWS = [
    _Row("--work-dir", "KERUTA_WORK_DIR", "work_dir", "/mnt/w", Path("/mnt/w"), Path("/work")),
    _Row(None, "KERUTA_API_TOKEN", "api_token", _SECRET, SecretStr(_SECRET)),
    _Row(None, "KERUTA_API_TOKEN_FILE", "api_token_file", str(_FILE), _FILE),
    _Row("--repository-url", "KERUTA_REPOSITORY_URL", "repository_url", "git@h:r.git", "git@h:r.git"),
    _Row("--ref", "KERUTA_REPOSITORY_REF", "ref", "v1.0", "v1.0"),
    _Row("--work-branch", "KERUTA_WORK_BRANCH", "work_branch", "task/1", "task/1"),
    _Row("--depth", "KERUTA_GIT_DEPTH", "depth", "0", 0, 1),
    _Row("--submodules", "KERUTA_GIT_SUBMODULES", "submodules", "yes", "yes", "no"),
    _Row("--submodules", "KERUTA_GIT_SUBMODULES", "submodules", "recursive", "recursive", "no"),
    _Row("--lfs", "KERUTA_GIT_LFS", "lfs", "on", True, False),
    _Row("--git-cache-dir", "KERUTA_GIT_CACHE_DIR", "git_cache_dir", "/cache", Path("/cache")),
    _Row("--sparse-path", "KERUTA_GIT_SPARSE_PATHS", "sparse_paths", "src/shop/", ("src/shop",), ()),
    _Row(None, "KERUTA_GIT_USERNAME", "git_username", "user", "user"),
    _Row(None, "KERUTA_GIT_TOKEN", "git_token", _SECRET, SecretStr(_SECRET)),
    _Row(None, "KERUTA_GIT_TOKEN_FILE", "git_token_file", str(_FILE), _FILE),
    _Row(None, "GIT_USERNAME", "git_username", "user", "user"),
    _Row(None, "GIT_PASSWORD", "git_token", _SECRET, SecretStr(_SECRET)),
    _Row("--ssh-key-file", "KERUTA_GIT_SSH_KEY_FILE", "ssh_key_file", str(_FILE), _FILE),
    _Row("--ssh-known-hosts-file", "KERUTA_GIT_SSH_KNOWN_HOSTS_FILE", "ssh_known_hosts_file", str(_FILE), _FILE),
    _Row("--on-existing", "KERUTA_ON_EXISTING", "on_existing", "reset", "reset", "update"),
    _Row("--on-existing", "KERUTA_ON_EXISTING", "on_existing", "fail", "fail", "update"),
    _Row("--install-after", "KERUTA_INSTALL_AFTER", "install_after", "documents", "documents", "script"),
    _Row("--script-sha256", "KERUTA_SCRIPT_SHA256", "script_sha256", _DIGEST.upper(), _DIGEST),
    _Row("--script-timeout", "KERUTA_TIMEOUT", "script_timeout", "2.5", 2.5, 1800.0),
    _Row("--deadline", "KERUTA_DEADLINE", "deadline", "60", 60.0),
    _Row("--retries", "KERUTA_RETRY_COUNT", "retries", "0", 0, 5),
    _Row("--connect-timeout", "KERUTA_CONNECT_TIMEOUT", "connect_timeout", "3", 3.0, 10.0),
    _Row("--read-timeout", "KERUTA_READ_TIMEOUT", "read_timeout", "3", 3.0, 30.0),
    _Row("--max-connections", "KERUTA_MAX_CONNECTIONS", "max_connections", "1", 1, 16),
    _Row("--group-write", "KERUTA_GROUP_WRITE", "group_write", "true", True, False),
    _Row("--log-level", "KERUTA_LOG_LEVEL", "log_level", "debug", "DEBUG", "INFO"),
    _Row("--log-format", "KERUTA_LOG_FORMAT", "log_format", "text", "text", "auto"),
    _Row("--log-format", "KERUTA_LOG_FORMAT", "log_format", "json", "json", "auto"),
    _Row(None, "KERUTA_TERMINATION_LOG", "termination_log", "/tmp/log", Path("/tmp/log")),  # noqa: S108 - not written
]
_ROWS = [*_REQUIRED_ROWS, *_OPTIONAL_ROWS]
_WITH_FLAG = [row for row in _ROWS if row.flag]


def _name(row: _Row) -> str:
    return f"{row.variable}={row.word[:9]}"


@pytest.mark.parametrize("row", _WITH_FLAG, ids=_name)
def test_every_flag_works(row: _Row) -> None:
    """A flag of the contract sets its field."""
    values, problems = parse_arguments([row.flag or "", row.word])
    assert problems == []
    assert getattr(_settings(**values), row.field) == row.value


@pytest.mark.parametrize("row", _ROWS, ids=_name)
def test_every_variable_works(row: _Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the contract sets its field where no argument does."""
    monkeypatch.setenv(row.variable, row.word)
    values = {name: value for name, value in _REQUIRED.items() if name != row.field}
    assert getattr(PrepSettings(**values), row.field) == row.value


@pytest.mark.parametrize("row", _OPTIONAL_ROWS, ids=_name)
def test_every_default_is_the_contract_s(row: _Row) -> None:
    """An optional setting that nobody gave has the contract's default."""
    assert getattr(_settings(), row.field) == row.default


@pytest.mark.parametrize("row", _OPTIONAL_ROWS, ids=_name)
def test_an_empty_optional_variable_is_unset(row: _Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set to nothing leaves its setting at the default."""
    monkeypatch.setenv(row.variable, "")
    assert getattr(_settings(), row.field) == row.default


@pytest.mark.parametrize("row", _WITH_FLAG, ids=_name)
def test_an_argument_wins_over_the_environment(row: _Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag counts whatever its variable says, even where the variable is wrong."""
    monkeypatch.setenv(row.variable, "$(NOT_EXPANDED)")
    values, _ = parse_arguments([row.flag or "", row.word])
    assert getattr(_settings(**values), row.field) == row.value


@pytest.mark.parametrize("row", _ROWS, ids=_name)
def test_an_unexpanded_reference_is_recognised(row: _Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference that Kubernetes left as it is, is named as that, under the setting's flag and variable."""
    monkeypatch.setenv(row.variable, "$(SOME_VARIABLE)")
    with pytest.raises(SettingsError) as caught:
        PrepSettings(**{name: value for name, value in _REQUIRED.items() if name != row.field})
    (problem,) = caught.value.problems
    name, _, sentence = problem.partition(": ")
    assert row.variable in name.split(" / ")
    assert row.flag is None or row.flag in name.split(" / ")
    assert "$(SOME_VARIABLE)" in sentence
    assert "Kubernetes left unexpanded" in sentence


def test_an_unexpanded_flag_is_recognised() -> None:
    """A reference in a flag, in a list too, is named as that."""
    values, _ = parse_arguments(["--document-id", "a,$(KERUTA_DOCUMENT_ID)"])
    with pytest.raises(SettingsError, match=r"--document-id / KERUTA_DOCUMENT_ID: is \$\(KERUTA_DOCUMENT_ID\)"):
        _settings(**values)


_BAD: Mapping[str, str] = {
    "KERUTA_REPOSITORY_ID": "..",
    "KERUTA_DOCUMENT_ID": "a,b\x07",
    "KERUTA_API_ENDPOINT": "ftp://api",
    "KERUTA_API_TOKEN": "two words",
    "KERUTA_API_TOKEN_FILE": "/missing/file",
    "KERUTA_REPOSITORY_URL": "ext::sh",
    "KERUTA_REPOSITORY_REF": "--upload-pack=x",
    "KERUTA_WORK_BRANCH": "HEAD",
    "KERUTA_GIT_DEPTH": "-1",
    "KERUTA_GIT_SUBMODULES": "some",
    "KERUTA_GIT_LFS": "maybe",
    "KERUTA_GIT_SPARSE_PATHS": "src,../etc",
    "KERUTA_GIT_TOKEN_FILE": "/",
    "KERUTA_GIT_SSH_KEY_FILE": "/missing/key",
    "KERUTA_GIT_SSH_KNOWN_HOSTS_FILE": "/missing/hosts",
    "KERUTA_ON_EXISTING": "keep",
    "KERUTA_INSTALL_AFTER": "lunch",
    "KERUTA_SCRIPT_SHA256": "0a",
    "KERUTA_TIMEOUT": "0",
    "KERUTA_DEADLINE": "inf",
    "KERUTA_RETRY_COUNT": "1.5",
    "KERUTA_CONNECT_TIMEOUT": "soon",
    "KERUTA_READ_TIMEOUT": "nan",
    "KERUTA_MAX_CONNECTIONS": "0",
    "KERUTA_GROUP_WRITE": "2",
    "KERUTA_LOG_LEVEL": "LOUD",
    "KERUTA_LOG_FORMAT": "xml",
}


def test_every_bad_setting_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One error names each bad setting once, by flag and variable, with a sentence that says what is wrong."""
    for variable, word in _BAD.items():
        monkeypatch.setenv(variable, word)
    with pytest.raises(SettingsError) as caught:
        PrepSettings()
    flags = {row.variable: row.flag for row in _ROWS}
    named = dict(problem.split(": ", 1) for problem in caught.value.problems)
    assert len(named) == len(caught.value.problems) == len(_BAD)
    for variable in _BAD:
        (name,) = [name for name in named if variable in name.split(" / ")]
        assert flags[variable] is None or flags[variable] in name.split(" / ")
        assert named[name][-1] not in ":;"
        assert named[name] in str(caught.value)


@pytest.mark.parametrize(("variable", "word"), _BAD.items())
def test_each_bad_setting_is_an_error_of_its_own(variable: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single bad setting is refused, and nothing but it is named."""
    field = next(row.field for row in _ROWS if row.variable == variable)
    monkeypatch.setenv(variable, word)
    with pytest.raises(SettingsError) as caught:
        PrepSettings(**{name: value for name, value in _REQUIRED.items() if name != field})
    (problem,) = caught.value.problems
    assert variable in problem
    assert caught.value.exit_code == 78


def test_missing_settings_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A required setting that is missing, or empty where it must not be, is named."""
    monkeypatch.setenv("KERUTA_REPOSITORY_ID", "")
    monkeypatch.setenv("KERUTA_API_ENDPOINT", "")
    with pytest.raises(SettingsError) as caught:
        PrepSettings()
    assert [problem.split(" / ")[0] for problem in caught.value.problems] == [
        "--repository-id",
        "--document-id",
        "--api-url",
    ]
    assert all("required, but not set" in problem for problem in caught.value.problems)


@pytest.mark.parametrize("flag", ["--repository-id", "--api-url"])
def test_an_empty_required_flag_is_refused(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty flag is not made good by the variable, which it wins over."""
    monkeypatch.setenv("KERUTA_REPOSITORY_ID", "repo-1")
    monkeypatch.setenv("KERUTA_API_ENDPOINT", "http://api")
    values, _ = parse_arguments([flag, "", "--document-id", "d"])
    with pytest.raises(SettingsError, match=f"^{flag} .*must not be empty$"):
        PrepSettings(**values)


@pytest.mark.parametrize("word", ["", ",", " , "])
def test_an_empty_document_id_means_none(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document id that is set but empty says that the task has no document."""
    monkeypatch.setenv("KERUTA_DOCUMENT_ID", word)
    assert PrepSettings(repository_id="r", api_url="http://api").document_ids == ()
    monkeypatch.setenv("KERUTA_DOCUMENT_ID", "doc-1")
    assert _settings(**parse_arguments(["--document-id", word])[0]).document_ids == ()


def test_the_second_name_of_the_api_comes_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """KERUTA_API_URL counts only where KERUTA_API_ENDPOINT is not set or empty."""
    values = {"repository_id": "r", "document_ids": []}
    monkeypatch.setenv("KERUTA_API_URL", "http://second")
    monkeypatch.setenv("KERUTA_API_ENDPOINT", "http://first")
    assert PrepSettings(**values).api_url == "http://first"
    monkeypatch.setenv("KERUTA_API_ENDPOINT", "")
    assert PrepSettings(**values).api_url == "http://second"


@pytest.mark.parametrize("url", ["api", "http:api", "//api", "http://-x", "http://api?x=1", "http://a b", "http://a:b"])
def test_a_bad_api_url_is_refused(url: str) -> None:
    """What is no base for the API's addresses is refused."""
    with pytest.raises(SettingsError, match=r"^--api-url / KERUTA_API_ENDPOINT / KERUTA_API_URL: (must|has|is) "):
        _settings(api_url=url)


def test_an_unknown_argument_is_refused() -> None:
    """A mistyped argument is an error, not nothing."""
    with pytest.raises(SettingsError, match=r"^document_id: no such setting$"):
        _settings(document_id="doc-1")


def test_arguments_may_be_python_s_own() -> None:
    """A library user gives paths, numbers, lists and truth values as they are."""
    settings = _settings(lfs=True, depth=0, work_dir=Path("/w"), sparse_paths=("a",), deadline=None, group_write=False)
    assert (settings.lfs, settings.depth, settings.work_dir) == (True, 0, Path("/w"))
    assert (settings.sparse_paths, settings.deadline, settings.group_write) == (("a",), None, False)


def test_settings_can_t_be_changed() -> None:
    """A run's settings stay as they were checked."""
    settings = _settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.depth = 5


def test_a_script_digest_may_name_its_algorithm() -> None:
    """A digest as registries write it is understood."""
    assert _settings(script_sha256=f"sha256:{_DIGEST}").script_sha256 == _DIGEST


def test_sparse_paths_of_a_variable_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """A comma separates the directories of the variable."""
    monkeypatch.setenv("KERUTA_GIT_SPARSE_PATHS", "src, docs/,/src")
    assert _settings().sparse_paths == ("src", "docs")


@pytest.mark.parametrize("path", ["", "/", "..", "a/../b", "a//b", "./a", "a\nb"])
def test_a_sparse_path_stays_inside(path: str) -> None:
    """What is no directory inside the repository can't be checked out."""
    with pytest.raises(SettingsError, match="--sparse-path"):
        _settings(sparse_paths=[path])


def test_secrets_are_not_shown() -> None:
    """Settings as text hold no secret, not even one of the environment."""
    settings = _settings(
        api_token=_SECRET,
        git_token=_SECRET,
        repository_url=f"https://user:{_SECRET}@host/shop.git",
        environment={"OTHER_TOKEN": _SECRET},
    )
    assert _SECRET not in repr(settings) + str(settings)
    assert "repo-1" in repr(settings)


@pytest.mark.parametrize(
    ("variable", "word"),
    [
        ("KERUTA_API_TOKEN", f"{_SECRET} \n{_SECRET}"),
        ("KERUTA_REPOSITORY_URL", f"https://user:{_SECRET}@host:port/shop"),
        ("KERUTA_REPOSITORY_URL", f"https://user:{_SECRET}@host/a shop"),
        ("KERUTA_API_ENDPOINT", f"https://user:{_SECRET}@host"),
        ("KERUTA_API_ENDPOINT", f"https://{_SECRET}@host"),
        ("KERUTA_API_ENDPOINT", f"user:{_SECRET}@host"),
    ],
)
def test_an_error_tells_no_secret(variable: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error about a bad setting, its causes included, does not repeat the secret in it."""
    monkeypatch.setenv(variable, word)
    required = {"repository_id": "r", "document_ids": []}
    with pytest.raises(SettingsError, match=variable) as caught:
        PrepSettings(**required | ({} if "ENDPOINT" in variable else {"api_url": "http://api"}))
    assert _SECRET not in "".join(traceback.format_exception(caught.value)) + repr(caught.value.problems)


@pytest.mark.parametrize(
    ("field", "read"), [("api_token_file", "read_api_token"), ("git_token_file", "read_git_token")]
)
def test_a_token_file_is_read_each_time(field: str, read: str, tmp_path: Path) -> None:
    """A token that rotates is used as it is at the moment, and a file wins over a fixed token."""
    path = tmp_path / "token"
    path.write_text("first\n")
    settings = _settings(**{field: path, field.removesuffix("_file"): "fixed"})
    assert getattr(settings, read)() == "first"
    path.write_text("second\n")
    assert getattr(settings, read)() == "second"


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", None], ids=["empty", "blank", "binary", "gone"])
@pytest.mark.parametrize(
    ("field", "read"), [("api_token_file", "read_api_token"), ("git_token_file", "read_git_token")]
)
def test_a_token_file_without_token_is_an_error(field: str, read: str, content: bytes | None, tmp_path: Path) -> None:
    """A token file that went away, or holds none any more, is an error about credentials."""
    path = tmp_path / "token"
    path.write_text("first\n")
    settings = _settings(**{field: path})
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(CredentialsError, match=str(path)):
        getattr(settings, read)()


def test_tokens_are_read_as_they_were_given() -> None:
    """A token that was set is read without the line end that an editor left; without any there is none."""
    assert _settings(api_token=f"{_SECRET}\n").read_api_token() == _SECRET
    assert _settings(git_token=_SECRET).read_git_token() == _SECRET
    assert _settings().read_api_token() is None
    assert _settings().read_git_token() is None


def test_the_clone_url_is_taken_apart() -> None:
    """A given clone URL is there without its user info; without one the API is asked."""
    url = _settings(repository_url=f"https://user:{_SECRET}@host/shop.git").clone_url
    assert url is not None
    assert (url.text, url.username, url.password) == ("https://host/shop.git", "user", _SECRET)
    assert _settings().clone_url is None


@pytest.mark.parametrize("path", ["/srv/shop.git", "file:///srv/shop.git"])
def test_a_local_repository_may_be_given(path: str) -> None:
    """A setting may name a repository on the machine, which the API may not."""
    url = _settings(repository_url=path).clone_url
    assert url is not None
    assert url.scheme == "file"


@pytest.mark.parametrize(
    "values",
    [
        {"api_token": _SECRET},
        {"git_token": _SECRET},
        {"repository_url": f"https://user:{_SECRET}@host/shop.git"},
        {"repository_url": f"https://{_SECRET}@host/shop.git"},
        {"environment": {"NPM_TOKEN": _SECRET}},
        {"environment": {"aws_secret_access_key": _SECRET}},
        {"environment": {"HTTPS_PROXY": f"http://user:{_SECRET}@proxy:3128"}},
        {"environment": {"https_proxy": f"user:{_SECRET}@proxy:3128"}},
    ],
)
def test_every_secret_is_masked(values: dict[str, Any]) -> None:
    """The masker of the settings knows each secret of theirs and of the environment."""
    assert _settings(**values).masker().mask(f"<{_SECRET}>") == f"<{MASK}>"


def test_what_is_no_secret_is_not_masked() -> None:
    """Ordinary variables, short values and the login of an ssh URL stay readable."""
    masker = _settings(
        repository_url="ssh://gituser@host/shop.git",
        environment={"HOME": "/home/runner", "X_TOKEN": "short", "HTTP_PROXY": "http://proxy:3128"},
    ).masker()
    text = "gituser /home/runner short proxy:3128"
    assert masker.mask(text) == text


def test_the_environment_is_the_process_s_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """What commands are given is the environment at the time the settings are made, or what the caller wants."""
    monkeypatch.setenv("SOME_VARIABLE", "some value")
    settings = _settings()
    monkeypatch.setenv("SOME_VARIABLE", "another")
    assert settings.environment["SOME_VARIABLE"] == "some value"
    assert _settings(environment={"A": "b"}).environment == {"A": "b"}
