"""The page on operations explains every message, and no message that is gone."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from kerutaprep import errors
from kerutaprep.errors import PrepError
from kerutaprep.git.diagnosis import classify

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parent.parent
_SOURCE = _ROOT / "src" / "kerutaprep"
_PAGE = (_ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
_LOG = "What the log says"
_CODES = {
    name: kind.exit_code
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, PrepError)
}
_OF_SETTINGS = frozenset({"arguments", "values", "names", "options", "settings"})
"""Modules in which a ValueError says what is wrong with a setting."""
_LOGGED = frozenset({"note", "skip", "run_event", "_warn"})
_COLLECTED = frozenset({"faults", "problems", "reason"})
"""Names of variables in which sentences for a message are put together."""
_SHORTEST = 7
"""Letters and blanks below which a literal says too little to be looked for."""
_EDGES = " :;,.()'"
_MESSAGE = re.compile(r"`([^`]+)`")


class Message(NamedTuple):
    """A message as the source has it."""

    place: str
    section: str
    """Of the page, where its row belongs."""
    words: str
    """Its longest literal part."""


def _literals(tree: ast.Module) -> list[str]:
    """The fixed parts of each string and f-string that is no docstring."""
    docs = [
        node.value for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    ]
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and node not in docs]
    return [text.value for text in texts if isinstance(text.value, str)]


def _longest(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        fixed = [part.value for part in node.values if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        return max(fixed, key=len, default="")
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _strings(node: ast.AST) -> Iterator[ast.AST]:
    """Each whole string and f-string in an expression."""
    if isinstance(node, ast.JoinedStr | ast.Constant):
        yield node
        return
    for child in ast.iter_child_nodes(node):
        yield from _strings(child)


def _told(node: ast.AST, of_settings: bool) -> tuple[str, list[ast.AST]]:
    """Where a row for this call or assignment belongs, and its strings; nothing for any other node."""
    match node:
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in _CODES or (
            of_settings and name == "ValueError"
        ):
            code = _CODES.get(name, _CODES["SettingsError"])
            return f"with the exit code {code}", [text for one in arguments for text in _strings(one)]
        case ast.Call(func=ast.Attribute(attr="append", value=ast.Name(id=name)), args=arguments) if name in _COLLECTED:
            return f"with the exit code {_CODES['SettingsError']}", list(arguments)
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=arguments) if name in _LOGGED:
            return f"“{_LOG}”", list(arguments)
        case (
            ast.Assign(targets=[ast.Name(id=name)], value=value) | ast.AugAssign(target=ast.Name(id=name), value=value)
        ) if name in _COLLECTED:
            return f"with the exit code {_CODES['SettingsError']}, or “{_LOG}”", list(_strings(value))
    return "", []


def _messages() -> Iterator[Message]:
    for path in sorted(_SOURCE.glob("**/*.py")):
        for node in ast.walk(_parsed(path)):
            section, strings = _told(node, path.stem in _OF_SETTINGS)
            for words in map(_longest, strings):
                if _says_something(words):
                    yield Message(
                        f"src/kerutaprep/{path.relative_to(_SOURCE)}:{getattr(node, 'lineno', 0)}",
                        section,
                        words.strip(),
                    )


def _is_made_of(words: str, source: str, pieces: int = 3) -> bool:
    """Whether words are in the source; a message that is put together may be there in a few pieces, none too short."""
    if words in source:
        return True
    rests = [words[cut:] for cut in range(_SHORTEST, len(words) - _SHORTEST + 1) if words[:cut] in source]
    return pieces > 1 and any(_is_made_of(rest, source, pieces - 1) for rest in rests)


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _says_something(words: str) -> bool:
    return len(re.findall(r"[a-z ]", words)) >= _SHORTEST


def _plain(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def test_every_message_has_a_row() -> None:
    """What is raised or noted in the source is explained in docs/operations.md."""
    page = _plain(_PAGE)
    missing = [message for message in _messages() if _plain(message.words) not in page]
    assert not missing, "\n".join(
        [
            "docs/operations.md does not have these messages. For each, add a row to the table of the section named,",
            "with the message (`…` for what varies), what it means, and what to do:",
            *(f"  {place}: section {section}: `{words}`" for place, section, words in missing),
        ]
    )


def test_no_row_is_out_of_date() -> None:
    """Each fixed part of a message in docs/operations.md is in the source."""
    tables = _PAGE[_PAGE.index("\n## Messages") : _PAGE.index("\n### What git says")]
    tables += _PAGE[_PAGE.index(f"\n## {_LOG}") : _PAGE.index("\n## The files")]
    source = "\n".join(text for path in _SOURCE.glob("**/*.py") for text in _literals(_parsed(path)))
    gone = [
        part.strip()
        for row in re.findall(r"^\| (`.*?) \|", tables, re.MULTILINE)
        for found in _MESSAGE.finditer(row)
        for part in re.split("…", found[1])
        if _says_something(part.strip(_EDGES)) and not _is_made_of(part.strip(_EDGES), source)
    ]
    assert not gone, f"docs/operations.md explains what the source no longer says; mend or remove these rows: {gone}"


def _said_by_git() -> list[tuple[str, int]]:
    table = _PAGE[_PAGE.index("### What git says") : _PAGE.index(f"\n## {_LOG}")]
    rows = re.findall(r"^\| (`.*?) \| (\d+) \|", table, re.MULTILINE)
    return [(found[1], int(code)) for said, code in rows for found in _MESSAGE.finditer(said)]


@pytest.mark.parametrize(("said", "code"), _said_by_git(), ids=lambda value: str(value)[:40])
def test_gits_words_have_the_code_of_their_row(said: str, code: int) -> None:
    """The page's examples of what git says end with the code that it gives."""
    assert classify("git fetch", 128, [said]).exit_code == code


def test_every_advice_about_git_is_there() -> None:
    """What kerutaprep advises about git's failures is on the page."""
    rows = [node.elts for node in ast.walk(_parsed(_SOURCE / "git" / "diagnosis.py")) if isinstance(node, ast.Tuple)]
    advice = [_longest(row[2]) for row in rows if len(row) == 3 and isinstance(row[0], ast.Name)]
    assert len(advice) >= 5
    assert not [text for text in advice if _plain(text) not in _plain(_PAGE)]
