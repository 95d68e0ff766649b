"""The reading of a command line: words to settings, which are not checked here."""

from __future__ import annotations

from kerutaprep.options import BY_FIELD, EMPTY_IS_A_VALUE, OPTIONS, REQUIRED
from kerutaprep.values import split_list

TYPE_CHECKING = False  # typing is not imported before git is on its way
if TYPE_CHECKING:
    from collections.abc import Sequence

    from kerutaprep.options import Option

_BY_FLAG = {option.flag: option for option in OPTIONS if option.flag}
_SWITCH_WORDS = frozenset({"on", "off", "true", "false", "yes", "no", "1", "0"})


def parse_arguments(words: Sequence[str]) -> tuple[dict[str, str | list[str]], list[str]]:
    """Read ``init``'s command line into settings, and list what it makes no sense of.

    The word after a flag is its value, whatever it starts with; ``--flag=value`` is understood too. A switch may
    stand alone or with a word such as ``on``. An empty value of an optional flag leaves it unset.

    Returns:
        the values by field, a list for a repeated flag, and one sentence for each problem.
    """
    given: dict[str, str | list[str]] = {}
    problems: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        option = _BY_FLAG.get(flag)
        if option is None:
            problems.append(_unknown(flag))
            if word.startswith("-") and not equals and rest and not rest[0].startswith("-"):
                rest.pop(0)  # most likely its value; it may be a secret, so it is not shown
            continue
        if not equals:
            if option.kind == "switch":
                is_value = rest and (rest[0].lower() in _SWITCH_WORDS or rest[0].startswith("$("))
                value = rest.pop(0) if is_value or rest[:1] == [""] else "on"
            elif not rest:
                problems.append(f"{option}: its value is missing")
                continue
            else:
                value = rest.pop(0)
        _store(given, option, value)
    return given, problems


def _unknown(flag: str) -> str:
    if not flag.startswith("-"):
        return "a word that belongs to no option (not shown, it may be a secret)"
    meant = BY_FIELD.get(flag.lstrip("-").replace("-", "_"))
    if meant is not None and meant.flag is None:
        return f"{flag}: no such option, since a command line is visible to everyone; set {meant}"
    return f"{flag}: no such option"


def _store(given: dict[str, str | list[str]], option: Option, value: str) -> None:
    if option.kind == "repeat":
        earlier = given.setdefault(option.field, [])
        assert isinstance(earlier, list)  # noqa: S101 - narrows the type; a repeated flag's value is made a list above
        if value or option.field in EMPTY_IS_A_VALUE:
            earlier.extend(split_list(value) if option.field == "document_ids" else [value])
        elif not earlier:
            del given[option.field]
    elif value or option.field in REQUIRED:
        given[option.field] = value
