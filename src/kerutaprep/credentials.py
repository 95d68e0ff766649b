"""Tokens as they are at the moment: given as they are, or in a file that is read each time, since tokens rotate."""

from __future__ import annotations

from kerutaprep.errors import CredentialsError
from kerutaprep.values import secret_for_header

TYPE_CHECKING = False  # typing is not imported before git is on its way
if TYPE_CHECKING:
    from os import PathLike


def api_token(token: str | None, file: PathLike[str] | str | None) -> str | None:
    """The API's token; a file wins.

    Raises:
        CredentialsError: the file can't be read, or holds no token.
    """
    if not file:
        return token
    try:
        return secret_for_header(_read(file, "API token"))
    except ValueError as error:
        raise CredentialsError(f"the API token in {file} {error}") from None


def git_token(token: str | None, file: PathLike[str] | str | None) -> str | None:
    """The git server's token; likewise.

    Raises:
        CredentialsError: likewise.
    """
    return _read(file, "git token") if file else token


def _read(path: PathLike[str] | str, what: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CredentialsError(f"the {what} can't be read from {path}: {error}") from error
    if not text:
        raise CredentialsError(f"{path} holds no {what}")
    return text
