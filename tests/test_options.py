"""The command line: words to settings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kerutaprep.arguments import parse_arguments
from kerutaprep.options import OPTIONS, options_help
from kerutaprep.values import split_list

_FLAGS = {option.flag: option.field for option in OPTIONS if option.flag and option.kind == "value"}
_WORDS = st.text(min_size=1) | st.sampled_from([*_FLAGS, "--", "-", "--help", "--lfs", "=", "--ref=x", "$(X)"])


@given(st.sampled_from(sorted(_FLAGS)), _WORDS)
def test_the_word_after_a_flag_is_its_value(flag: str, word: str) -> None:
    """The word after a flag is its value whatever it starts with, and the word after that is the next flag."""
    assert parse_arguments([flag, word, "--document-id", "d"]) == ({_FLAGS[flag]: word, "document_ids": ["d"]}, [])


@given(st.sampled_from(sorted(_FLAGS)), _WORDS)
def test_a_value_may_follow_an_equals_sign(flag: str, word: str) -> None:
    """A flag and its value may be one word, and only the first equals sign divides it."""
    assert parse_arguments([f"{flag}={word}"]) == ({_FLAGS[flag]: word}, [])


@given(st.lists(_WORDS, max_size=5).flatmap(lambda words: st.permutations([*words, "--ref"])))
def test_any_words_are_read(words: list[str]) -> None:
    """No command line raises: what it makes no sense of is a problem."""
    values, problems = parse_arguments(words)
    assert values or problems


@given(st.dictionaries(st.sampled_from(sorted(_FLAGS)), _WORDS, min_size=1))
def test_flags_do_not_disturb_each_other(given_flags: dict[str, str]) -> None:
    """Each of several flags gets its own value."""
    words = [word for pair in given_flags.items() for word in pair]
    assert parse_arguments(words) == ({_FLAGS[flag]: word for flag, word in given_flags.items()}, [])


def test_the_last_of_two_values_counts() -> None:
    """A flag that is given twice has its last value."""
    assert parse_arguments(["--ref", "one", "--ref", "two"]) == ({"ref": "two"}, [])


@pytest.mark.parametrize(("flag", "field"), [("--lfs", "lfs"), ("--group-write", "group_write")])
@pytest.mark.parametrize("word", ["on", "off", "true", "False", "YES", "no", "1", "0"])
def test_a_switch_takes_a_word(flag: str, field: str, word: str) -> None:
    """A switch may be followed by a word that says on or off."""
    assert parse_arguments([flag, word]) == ({field: word}, [])
    assert parse_arguments([f"{flag}={word}"]) == ({field: word}, [])


@pytest.mark.parametrize(("flag", "field"), [("--lfs", "lfs"), ("--group-write", "group_write")])
def test_a_switch_may_stand_alone(flag: str, field: str) -> None:
    """A switch without a word is on, at the end as well as before another flag."""
    assert parse_arguments([flag]) == ({field: "on"}, [])
    assert parse_arguments([flag, "--ref", "on"]) == ({field: "on", "ref": "on"}, [])


@pytest.mark.parametrize(
    "words",
    [
        ["--document-id", "a", "--document-id", "b", "--document-id", "c"],
        ["--document-id", "a,b,c"],
        ["--document-id", " a , b,", "--document-id=c"],
    ],
)
def test_document_ids_are_collected(words: list[str]) -> None:
    """Documents may be repeated flags, a list with commas, or both."""
    assert parse_arguments(words) == ({"document_ids": ["a", "b", "c"]}, [])


@pytest.mark.parametrize("words", [["--document-id", ""], ["--document-id="], ["--document-id", ","]])
def test_an_empty_document_id_means_none(words: list[str]) -> None:
    """An empty document id is a setting of its own: the task has no document."""
    assert parse_arguments(words) == ({"document_ids": []}, [])


def test_sparse_paths_are_collected() -> None:
    """A directory to check out may be given several times, and a comma in one is its own."""
    assert parse_arguments(["--sparse-path", "a,b", "--sparse-path", "", "--sparse-path=c"]) == (
        {"sparse_paths": ["a,b", "c"]},
        [],
    )


def test_an_empty_optional_flag_is_unset() -> None:
    """An optional flag with nothing as its value leaves the setting to its variable or default."""
    assert parse_arguments(["--ref", "", "--depth=", "--sparse-path", "", "--lfs="]) == ({}, [])


@pytest.mark.parametrize("flag", ["--repository-id", "--api-url"])
def test_an_empty_required_flag_is_kept(flag: str) -> None:
    """A required flag with nothing as its value is not hidden by its variable."""
    assert parse_arguments([flag, ""]) == ({_FLAGS[flag]: ""}, [])


def test_all_problems_are_listed_at_once() -> None:
    """Unknown options, stray words and a missing value are all told, and what is right is still read."""
    values, problems = parse_arguments(["stray", "--nonsense=secret", "-x", "secret", "--depth", "3", "--ref"])
    assert values == {"depth": "3"}
    assert problems == [
        "a word that belongs to no option (not shown, it may be a secret)",
        "--nonsense: no such option",
        "-x: no such option",
        "--ref / KERUTA_REPOSITORY_REF: its value is missing",
    ]


@pytest.mark.parametrize("flag", ["--api-token", "--api-token-file", "--git-token", "--git-username", "--password"])
def test_secrets_have_no_flag(flag: str) -> None:
    """A secret on the command line is refused, since everyone on the machine could read it."""
    for words in ([f"{flag}=s3cret"], [flag, "s3cret"]):
        values, (problem,) = parse_arguments(words)
        assert values == {}
        assert problem.startswith(f"{flag}: no such option")
        assert "s3cret" not in problem


def test_help_names_every_setting() -> None:
    """The table of help has each flag and each variable."""
    text = options_help()
    for option in OPTIONS:
        assert option.help in text
        assert all(name in text for name in (option.flag or "(no flag)", *option.variables))


@given(st.lists(st.text("ab .").map(str.strip).filter(bool)))
def test_a_list_is_split_at_commas(items: list[str]) -> None:
    """Blanks around the items of a list, and empty items, do not count."""
    assert split_list(" , ".join(["", *items, ""])) == items
