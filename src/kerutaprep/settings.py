"""``PrepSettings``: everything that one run needs to know, checked; the package's only reader of the environment."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from kerutaprep.errors import CredentialsError, SettingsError
from kerutaprep.masking import SHORTEST_FOREIGN, Masker, is_secret, otlp_secrets
from kerutaprep.names import CloneURL, check_branch, check_id, check_ref, parse_clone_url, unexpanded_reference
from kerutaprep.options import BY_FIELD, EMPTY_IS_A_VALUE, split_list

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

_TRUE = frozenset({"on", "true", "yes", "1"})
_FALSE = frozenset({"off", "false", "no", "0"})
_NOT_IN_A_HEADER = re.compile(r"[^\x21-\x7e\x80-\xff]")
_PROXY_VARIABLE = re.compile(r"(https?|all)_proxy", re.IGNORECASE)


def _split(value: object) -> object:
    return split_list(value) if isinstance(value, str) else value


def _switch(value: object) -> object:
    if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    if isinstance(value, bool):
        return value
    raise ValueError("must be on or off")


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _api_url(value: str) -> str:
    if not value:
        raise ValueError("must not be empty")
    if not value.lower().startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    if "?" in value or "#" in value:
        raise ValueError("must not have a query (?…) or fragment (#…)")
    try:
        url = parse_clone_url(value + "/api")
    except ValueError as error:
        raise ValueError(str(error).replace("clone URL", "URL")) from None
    if url.username is not None or url.password is not None:
        raise ValueError("must not hold a user or password; KERUTA_API_TOKEN is the place for the token")
    return value.rstrip("/")


def _clone_url(value: str) -> str:
    parse_clone_url(value, local=True)
    return value


def _sparse_path(value: str) -> str:
    path = value.strip("/")
    if not path or any(part in {"", ".", ".."} for part in path.split("/")):
        raise ValueError(f"{value!a} is no directory inside the repository")
    if re.search(r"[\x00-\x1f\x7f]", path):
        raise ValueError("must not have control characters")
    return path


def _sha256(value: str) -> str:
    digest = value.lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError("must be 64 hexadecimal digits")
    return digest


def _header_safe(secret: SecretStr) -> SecretStr:
    """A token ends up in a header line: what would end or garble that line is refused (RFC 9110, 5.5)."""
    text = secret.get_secret_value().strip()
    if _NOT_IN_A_HEADER.search(text):
        raise ValueError("must not have blanks, control characters or characters beyond Latin-1 inside")
    return SecretStr(text)


def _absolute(path: Path) -> Path:
    return path.absolute()


Id = Annotated[str, AfterValidator(check_id)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Switch = Annotated[bool, BeforeValidator(_switch)]
FilePath = Annotated[Path, AfterValidator(_absolute)]


class _Environment(PydanticBaseSettingsSource):
    """The process's environment, under the names of the table of options."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        option = BY_FIELD.get(field_name)
        return (option.value_in(os.environ) if option else None), field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in values.items() if value is not None}


class PrepSettings(BaseSettings):
    """What one run is to do. Arguments win over the environment; ``prepare`` itself reads none.

    The fields are the flags' names with underscores; every one is described by ``keruta-agent init --help``.
    Times are in seconds. A repository URL may hold user info: it is used as credentials and never shown.

    Raises:
        SettingsError: with a sentence for every setting that is missing or wrong, all at once.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False
    )

    repository_id: Id
    document_ids: Annotated[tuple[Id, ...], BeforeValidator(_split), AfterValidator(_unique)]
    api_url: Annotated[str, AfterValidator(_api_url)]
    work_dir: FilePath = Path("/work")
    api_token: Annotated[SecretStr, AfterValidator(_header_safe)] | None = None
    api_token_file: FilePath | None = None
    repository_url: Annotated[str, AfterValidator(_clone_url)] | None = Field(default=None, repr=False, exclude=True)
    ref: Annotated[str, AfterValidator(check_ref)] | None = None
    work_branch: Annotated[str, AfterValidator(check_branch)] | None = None
    depth: int = Field(default=1, ge=0, le=2**31 - 1)
    submodules: Annotated[Literal["no", "yes", "recursive"], BeforeValidator(_lower)] = "no"
    lfs: Switch = False
    git_cache_dir: FilePath | None = None
    sparse_paths: Annotated[
        tuple[Annotated[str, AfterValidator(_sparse_path)], ...], BeforeValidator(_split), AfterValidator(_unique)
    ] = ()
    git_username: str | None = None
    git_token: SecretStr | None = None
    git_token_file: FilePath | None = None
    ssh_key_file: FilePath | None = None
    ssh_known_hosts_file: FilePath | None = None
    on_existing: Annotated[Literal["update", "reset", "fail"], BeforeValidator(_lower)] = "update"
    install_after: Annotated[Literal["script", "documents"], BeforeValidator(_lower)] = "script"
    script_sha256: Annotated[str, AfterValidator(_sha256)] | None = None
    script_timeout: PositiveSeconds = 1800.0
    deadline: PositiveSeconds | None = None
    retries: int = Field(default=5, ge=0, le=1000)
    connect_timeout: PositiveSeconds = 10.0
    read_timeout: PositiveSeconds = 30.0
    max_connections: int = Field(default=16, ge=1, le=10_000)
    group_write: Switch = False
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = "INFO"
    log_format: Annotated[Literal["auto", "text", "json"], BeforeValidator(_lower)] = "auto"
    termination_log: FilePath | None = None
    environment: dict[str, str] = Field(default_factory=lambda: dict(os.environ), repr=False, exclude=True)
    """What git and the install script are given, and where proxies and certificates are looked up."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            # Without the cause: pydantic's text would name fields where the user knows flags and variables.
            raise SettingsError(*_problems(error)) from None

    @classmethod
    def settings_customise_sources(  # the signature is pydantic-settings'
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the variables of the table of options; no dotenv files."""
        return init_settings, _Environment(settings_cls)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_unexpanded(cls, value: object) -> object:
        for text in value if isinstance(value, (list, tuple)) else (value,):
            reference = unexpanded_reference(text) if isinstance(text, str) else None
            if reference:
                raise ValueError(
                    f"is {reference}, a reference that Kubernetes left unexpanded: "
                    f"the container has no variable {reference[2:-1]} (is it listed in env, above this one?)"
                )
        return value

    @field_validator("api_token_file", "git_token_file", "ssh_key_file", "ssh_known_hosts_file")
    @classmethod
    def _must_be_readable(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError(f"{str(path)!a} is no file")
        if path is not None and not os.access(path, os.R_OK):
            raise ValueError(f"{str(path)!a} can't be read by user {os.geteuid()}")
        return path

    @property
    def clone_url(self) -> CloneURL | None:
        """The repository URL taken apart, None where the API is to be asked."""
        return parse_clone_url(self.repository_url, local=True) if self.repository_url else None

    def read_api_token(self) -> str | None:
        """The API's token as it is now; the file is read again each time, since tokens rotate.

        Raises:
            CredentialsError: the file can't be read or holds no token.
        """
        if self.api_token_file:
            token = SecretStr(_read_secret(self.api_token_file, "API token"))
            try:
                return _header_safe(token).get_secret_value()
            except ValueError as error:
                raise CredentialsError(f"the API token in {self.api_token_file} {error}") from None
        return self.api_token.get_secret_value() if self.api_token else None

    def read_git_token(self) -> str | None:
        """The git server's token as it is now; likewise.

        Raises:
            CredentialsError: the file can't be read or holds no token.
        """
        if self.git_token_file:
            return _read_secret(self.git_token_file, "git token")
        return self.git_token.get_secret_value() if self.git_token else None

    def masker(self) -> Masker:
        """A masker that knows every secret of these settings and of their environment."""
        masker = Masker()
        for secret in (self.api_token, self.git_token):
            if secret:
                masker.add(secret.get_secret_value())
        if self.git_token:
            masker.add_login(self.git_username or "", self.git_token.get_secret_value())
        for name, value in self.environment.items():
            if is_secret(name) and len(value) >= SHORTEST_FOREIGN:
                masker.add(value)
            if _PROXY_VARIABLE.fullmatch(name):
                mask_login_of(value, masker)
            for foreign in otlp_secrets(name, value):
                masker.add(foreign)
        if self.clone_url:
            mask_login(self.clone_url, masker)
        return masker


def mask_login(url: CloneURL, masker: Masker) -> None:
    """Mask the credentials that a clone URL held; a user without password is a token on common servers."""
    if url.password is not None:
        masker.add_login(url.username or "", url.password)
    elif url.username and url.scheme != "ssh":
        masker.add_login(url.username, "")
        masker.add(url.username)


def mask_login_of(proxy: str, masker: Masker) -> None:
    """Mask the password that a proxy's URL holds."""
    login, at, _ = proxy.rpartition("@")
    if at and ":" in (user := login.rpartition("//")[2]):
        masker.add(user.partition(":")[2])


def _read_secret(path: Path, what: str) -> str:
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(f"the {what} can't be read from {path}: {error}") from error
    if not text:
        raise CredentialsError(f"{path} holds no {what}")
    return text


def _problems(error: ValidationError) -> list[str]:
    problems: dict[str, str] = {}
    for detail in error.errors(include_url=False, include_context=True, include_input=False):
        field = str(detail["loc"][0])
        name = str(BY_FIELD.get(field, field))
        problems.setdefault(name, f"{name}: {_sentence(field, detail)}")
    return list(problems.values())


def _sentence(field: str, detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    kind = detail["type"]
    if kind == "missing":
        return "required, but not set" + (" (set it to nothing for no document)" if field in EMPTY_IS_A_VALUE else "")
    if kind == "value_error":
        return str(context["error"])
    if kind in _BOUNDS:
        return f"must be {_BOUNDS[kind]} {next(iter(context.values())):g}"
    if kind == "literal_error":
        return f"must be {context['expected']}"
    return _SENTENCES.get(kind.partition("_")[0], detail["msg"][0].lower() + detail["msg"][1:])


_BOUNDS = {"greater_than_equal": "at least", "greater_than": "more than", "less_than_equal": "at most"}
_SENTENCES = {
    "extra": "no such setting",
    "int": "must be a whole number",
    "float": "must be a number",
    "finite": "must be a number",
}
"""By the first word of pydantic's name for what is wrong."""
