"""Foreign names: what they become, and which are refused."""

from __future__ import annotations

import re
import subprocess
import traceback
from urllib.parse import quote

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kerutaprep.names import (
    check_branch,
    check_id,
    check_ref,
    document_file_name,
    is_commit_id,
    parse_clone_url,
    path_segment,
    unexpanded_reference,
)

_PASSWORD = "hunter2"

_TEXT = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
_IDS = (
    st.text(_TEXT, min_size=1, max_size=255)
    | st.text("aF/%2~-.", min_size=1, max_size=8)
    | st.text("é/", min_size=120, max_size=255)
).filter(lambda value: value not in {".", ".."})
_NEAR = _IDS.flatmap(
    lambda first: st.tuples(
        st.just(first),
        _IDS | st.sampled_from([document_file_name(first), path_segment(first)[:255], first[:-1] + "x", first[:128]]),
    )
)
"""Pairs of ids, many of which are close to each other."""


@given(_NEAR)
def test_no_two_ids_share_a_file(pair: tuple[str, str]) -> None:
    """Two different ids never get the same file name, even where one is the other's encoded or cut form."""
    first, second = map(check_id, pair)
    assume(first != second)
    assert document_file_name(first) != document_file_name(second)


@given(_IDS)
def test_a_file_name_is_never_a_path(document_id: str) -> None:
    """A document's file name fits a file system and stays in its directory."""
    name = document_file_name(check_id(document_id))
    assert 1 <= len(name.encode()) <= 255
    assert "/" not in name
    assert name not in {".", ".."}
    assert re.fullmatch(r"[A-Za-z0-9._%-]+", name)


@given(st.from_regex(r"[A-Za-z0-9._-]{1,255}", fullmatch=True).filter(lambda value: value not in {".", ".."}))
def test_a_safe_id_keeps_its_name(document_id: str) -> None:
    """An id that is a safe file name already is its document's file name."""
    assert document_file_name(check_id(document_id)) == document_id


@pytest.mark.parametrize("value", ["", ".", "..", "a\nb", "a\x00", "\x7f", "a\x85b", "a\u2028b", "\udcff", "x" * 256])
def test_bad_ids_are_refused(value: str) -> None:
    """An id that is empty, too long, a relative directory or holds control characters is refused."""
    with pytest.raises(ValueError, match=r"must|allowed"):
        check_id(value)


@given(_IDS)
def test_any_other_id_is_accepted(value: str) -> None:
    """An id of 1 to 255 ordinary characters is taken as it is, and is one segment of a URL."""
    assert check_id(value) == value
    assert re.fullmatch(r"[A-Za-z0-9._~%-]+", path_segment(value))


def test_unexpanded_references_are_found() -> None:
    """A reference that Kubernetes did not expand is found wherever it stands, and nothing else is taken for one."""
    assert unexpanded_reference("http://$(API_HOST)/x") == "$(API_HOST)"
    assert unexpanded_reference("$HOME ${HOME} $() $(1) (A)") is None


_REF_PIECES = ["a", "main", ".", "..", "/", "@", "{", "@{", "-", "+", "~", "^", ":", "?", "*", "[", "\\", " ", ".lock"]
_REFS = st.lists(
    st.sampled_from([*_REF_PIECES, "HEAD", "refs/", "é", "\x7f", "\t", "]", "}", "%", "=", '"']), max_size=6
)


def _git_accepts(*words: str) -> bool:
    return subprocess.run(["git", "check-ref-format", *words], capture_output=True, check=False).returncode == 0


def _accepted(value: str) -> bool:
    try:
        return check_ref(value) == value
    except ValueError:
        return False


@settings(deadline=None, max_examples=150)
@given(_REFS.map("".join).filter(_accepted))
def test_git_accepts_every_accepted_ref(value: str) -> None:
    """What is accepted as a ref is one for git too."""
    assert _git_accepts(f"refs/heads/{value}")


@settings(deadline=None, max_examples=150)
@given(_REFS.map("".join).filter(_accepted))
def test_git_accepts_every_accepted_branch(value: str) -> None:
    """What is accepted as a branch's name can be given to one by git too."""
    try:
        check_branch(value)
    except ValueError:
        assert value == "HEAD" or value.startswith("refs/")
    else:
        assert _git_accepts("--branch", value)


@given(
    st.text().map(lambda text: f"{text}\n") | st.sampled_from(["", "@", "-d", "--upload-pack=x", "a\x00", "+a", "a/"])
)
def test_options_and_garbage_are_no_refs(value: str) -> None:
    """A ref that git could take for an option, or that holds a line end, is refused."""
    with pytest.raises(ValueError, match=r"is no valid name"):
        check_ref(value)


@given(st.from_regex(r"[A-Za-z0-9]{1,9}([./_-][A-Za-z0-9]{1,3}[kx1]){0,3}", fullmatch=True))
def test_ordinary_refs_are_accepted(value: str) -> None:
    """Names as people give them to branches and tags are accepted."""
    assume(not value.startswith(("refs/", "HEAD")) and ".lock" not in value)
    assert check_ref(value) == value
    assert check_branch(value) == value


@pytest.mark.parametrize(
    "value", ["v1.2.3", "feature/été", "refs/tags/v1", "HEAD", "a" * 40, "dependabot/npm_and_yarn/@x/y-1"]
)
def test_tags_commits_and_full_refs_are_refs(value: str) -> None:
    """A tag, a commit id and a full ref are accepted as the ref to check out."""
    assert check_ref(value) == value


@pytest.mark.parametrize("value", ["HEAD", "refs/heads/main", "A" * 40, "0" * 64])
def test_some_refs_are_no_branch(value: str) -> None:
    """What git reads as something else can't be a branch's name."""
    with pytest.raises(ValueError, match="can't be the name of a branch"):
        check_branch(value)


def test_commit_ids_are_known_by_their_length() -> None:
    """Only a full commit id, of either hash, is a commit id."""
    assert is_commit_id("0a" * 20)
    assert is_commit_id("0A" * 32)
    assert not any(map(is_commit_id, ["0a" * 19, "0a" * 20 + "b", "g" * 40, "0a" * 20 + "\n"]))


@pytest.mark.parametrize(
    ("value", "scheme", "host", "port", "origin"),
    [
        ("https://example.com/team/shop.git", "https", "example.com", None, "https://example.com"),
        ("http://example.com:8080/shop", "http", "example.com", 8080, "http://example.com:8080"),
        ("ssh://git@example.com:2222/shop.git", "ssh", "example.com", 2222, "ssh://example.com:2222"),
        ("git://example.com/shop", "git", "example.com", None, "git://example.com"),
        ("git@example.com:team/shop.git", "ssh", "example.com", None, "ssh://example.com"),
        ("example.com:shop.git", "ssh", "example.com", None, "ssh://example.com"),
        ("http://[::1]:8080/shop", "http", "::1", 8080, "http://[::1]:8080"),
        ("git@[::1]:shop.git", "ssh", "::1", None, "ssh://[::1]"),
    ],
)
def test_clone_urls_are_taken_apart(value: str, scheme: str, host: str, port: int | None, origin: str) -> None:
    """Every kind of remote clone URL is accepted, and says where its credentials belong."""
    url = parse_clone_url(value)
    assert (url.text, url.scheme, url.host, url.port, url.password) == (value, scheme, host, port, None)
    assert url.origin == origin


_LOGIN = st.text(_TEXT, min_size=1, max_size=40)


@given(st.sampled_from(["https", "http"]), _LOGIN.filter(lambda user: user[0] != "-"), _LOGIN)
def test_user_info_is_taken_out(scheme: str, username: str, password: str) -> None:
    """Credentials in a web URL are given apart from it, decoded, and are not in what is stored."""
    url = parse_clone_url(f"{scheme}://{quote(username, safe='')}:{quote(password, safe='')}@example.com:81/shop.git")
    assert url.text == f"{scheme}://example.com:81/shop.git"
    assert (url.username, url.password) == (username, password)


def test_a_lone_user_is_taken_out() -> None:
    """A token written as a URL's user is not in what is stored."""
    url = parse_clone_url(f"https://{_PASSWORD}@example.com/shop.git")
    assert (url.text, url.username, url.password) == ("https://example.com/shop.git", _PASSWORD, None)


def test_an_ssh_login_stays_without_its_password() -> None:
    """The user of an ssh URL is part of the address; a password is not."""
    url = parse_clone_url(f"ssh://git:{_PASSWORD}@example.com/shop.git")
    assert (url.text, url.username, url.password) == ("ssh://git@example.com/shop.git", "git", _PASSWORD)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-u",
        "--upload-pack=touch x",
        "-oProxyCommand=x:shop",
        "ext::sh -c true",
        "ext::sh",
        "fd::17",
        "https::http://example.com/shop",
        "ext://example.com/shop",
        "ftp://example.com/shop",
        "git+ssh://example.com/shop",
        "ssh://-oProxyCommand=x/shop",
        "ssh://-l@example.com/shop",
        "ssh://%2Dl@example.com/shop",
        "git@-oProxyCommand=x:shop",
        "-l@example.com:shop",
        "example.com:-shop",
        "https://-example.com/shop",
        "https://exa$mple.com/shop",
        "https://example.com/shop\nx",
        "https://example.com/\x00",
        "https://us%0aer@example.com/shop",
        "https://example.com/a shop",
        "https:///shop",
        "https://example.com",
        "https://example.com/",
        "https://example.com:port/shop",
        "https://example.com:99999/shop",
        "https://[::1/shop",
        "https://example.com/shop#main",
    ],
)
@pytest.mark.parametrize("local", [False, True], ids=["from the API", "from a flag"])
def test_dangerous_urls_are_refused(value: str, local: bool) -> None:
    """What git or ssh could take for a command, an option or a header is refused, whoever gave it."""
    with pytest.raises(ValueError, match=r"^(is|has|names) "):
        parse_clone_url(value, local=local)


@pytest.mark.parametrize("value", ["file:///srv/shop.git", "FILE:///srv/shop.git", "/srv/shop.git", "../shop", "shop"])
def test_local_repositories_are_for_flags_only(value: str) -> None:
    """A file URL or path is accepted only where it did not come from the API."""
    with pytest.raises(ValueError, match=r"file URL|no clone URL"):
        parse_clone_url(value)
    url = parse_clone_url(value, local=True)
    assert (url.text, url.scheme, url.host) == (value, "file", "")


@pytest.mark.parametrize(
    "value",
    [
        f"https://user:{_PASSWORD}@/shop",
        f"https://user:{_PASSWORD}@example.com",
        f"https://user:{_PASSWORD}/x@example.com/shop",
        f"https://user:{_PASSWORD}@example.com:port/shop",
        f"https://user:{_PASSWORD}@exa mple.com/shop",
        f"https://user:{_PASSWORD}@example.com/shop#main",
        f"https://us%0aer:{_PASSWORD}@example.com/shop",
        f"ftp://user:{_PASSWORD}@example.com/shop",
        f"ext::https://user:{_PASSWORD}@example.com/shop",
        f"https://user:{_PASSWORD}@[example.com/shop",
        f"https://user:{_PASSWORD}@ex\u2100mple.com/shop",
    ],
)
def test_a_refusal_does_not_tell_the_password(value: str) -> None:
    """The error about a URL, its causes included, holds nothing of the password in it."""
    with pytest.raises(ValueError, match=r"^(is|has|names) ") as caught:
        parse_clone_url(value)
    assert _PASSWORD not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://example.com/shop", "https://example.com/shop.git"),
        ("https://example.com/shop/", "https://user:token@EXAMPLE.com:443/shop.git/"),
        ("http://example.com:80/shop", "http://example.com/shop"),
        ("git@example.com:team/shop.git", "ssh://git@example.com:22/team/shop"),
        ("example.com:shop", "other@example.com:shop.git"),
        ("/srv/shop.git", "file:///srv/shop"),
    ],
)
def test_one_repository_under_two_urls(one: str, other: str) -> None:
    """URLs that differ in their end, their login or a default port name one repository."""
    first, second = (parse_clone_url(value, local=True) for value in (one, other))
    assert first.same_repository(second)
    assert second.same_repository(first)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://example.com/shop", "https://example.com/shopping"),
        ("https://example.com/shop", "https://example.org/shop"),
        ("https://example.com/shop", "http://example.com/shop"),
        ("https://example.com/shop", "https://example.com:444/shop"),
        ("https://example.com/shop", "https://example.com/Shop"),
        ("git@example.com:shop", "git@example.com:team/shop"),
        ("/srv/shop", "/srv/team/shop"),
    ],
)
def test_two_repositories(one: str, other: str) -> None:
    """URLs of another path, host, scheme or port name another repository."""
    first, second = (parse_clone_url(value, local=True) for value in (one, other))
    assert not first.same_repository(second)
