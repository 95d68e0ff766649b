"""``PrepSettings``: everything that one run needs to know, checked; the package's only reader of the environment."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from kerutaprep.credentials import api_token, git_token
from kerutaprep.errors import SettingsError
from kerutaprep.masking import SHORTEST_FOREIGN, Masker, is_secret, otlp_secrets
from kerutaprep.names import CloneURL, parse_clone_url
from kerutaprep.options import BY_FIELD, EMPTY_IS_A_VALUE
from kerutaprep.values import refuse_unexpanded

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo
    from pydantic_core import ErrorDetails

_PROXY_VARIABLE = re.compile(r"(https?|all)_proxy", re.IGNORECASE)


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

    repository_id: str
    document_ids: tuple[str, ...]
    api_url: str
    work_dir: Path = Path("/work")
    api_token: SecretStr | None = None
    api_token_file: Path | None = None
    repository_url: str | None = Field(default=None, repr=False, exclude=True)
    ref: str | None = None
    work_branch: str | None = None
    depth: int = 1
    submodules: Literal["no", "yes", "recursive"] = "no"
    lfs: bool = False
    git_cache_dir: Path | None = None
    sparse_paths: tuple[str, ...] = ()
    git_username: str | None = None
    git_token: SecretStr | None = None
    git_token_file: Path | None = None
    ssh_key_file: Path | None = None
    ssh_known_hosts_file: Path | None = None
    on_existing: Literal["update", "reset", "fail"] = "update"
    install_after: Literal["script", "documents"] = "script"
    script_sha256: str | None = None
    script_timeout: float = 1800.0
    deadline: float | None = None
    retries: int = 5
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    max_connections: int = 16
    group_write: bool = False
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["auto", "text", "json"] = "auto"
    termination_log: Path | None = None
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
    def _check(cls, value: object, info: ValidationInfo) -> object:
        option = BY_FIELD.get(info.field_name or "")
        if option is None or value is None:
            return value
        plain = value.get_secret_value() if isinstance(value, SecretStr) else value
        refuse_unexpanded(plain)
        return option.check(plain)

    @property
    def clone_url(self) -> CloneURL | None:
        """The repository URL taken apart, None where the API is to be asked."""
        return parse_clone_url(self.repository_url, local=True) if self.repository_url else None

    def read_api_token(self) -> str | None:
        """The API's token as it is now; the file is read again each time, since tokens rotate.

        Raises:
            CredentialsError: the file can't be read or holds no token.
        """
        return api_token(self.api_token.get_secret_value() if self.api_token else None, self.api_token_file)

    def read_git_token(self) -> str | None:
        """The git server's token as it is now; likewise.

        Raises:
            CredentialsError: the file can't be read or holds no token.
        """
        return git_token(self.git_token.get_secret_value() if self.git_token else None, self.git_token_file)

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
    return _SENTENCES.get(kind.partition("_")[0], detail["msg"][0].lower() + detail["msg"][1:])


_SENTENCES = {"extra": "no such setting"}
"""By the first word of pydantic's name for what is wrong."""
