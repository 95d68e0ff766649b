"""The pages: their links lead somewhere, and the README says the same in both of its languages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent
_PAGES = sorted(
    [*_ROOT.glob("*.md"), *_ROOT.glob("docs/*.md"), *_ROOT.glob("benchmarks/*.md"), *_ROOT.glob("examples/*.md")]
)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|<img [^>]*src=\"([^\"]+)\"")
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def _headings(page: Path) -> list[str]:
    """With their marks."""
    return re.findall(r"^#{1,6} .*$", _CODE.sub("", _text(page)), re.MULTILINE)


def _anchors(page: Path) -> set[str]:
    """As forges make them out of headings: lower case, blanks as hyphens, punctuation dropped."""
    titles = [re.sub(r"[^\w\- ]", "", heading.lstrip("#").strip().lower()) for heading in _headings(page)]
    return {title.replace(" ", "-") for title in titles}


def _leads_nowhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return not target.exists() or (anchor != "" and anchor not in _anchors(target))


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: str(page.relative_to(_ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Every link to a file or a heading of this repository has a target; others are not fetched."""
    links = [first or second for first, second in _LINK.findall(_CODE.sub("", _text(page)))]
    assert not [link for link in links if "://" not in link and _leads_nowhere(page, link)]


def test_the_readme_says_the_same_in_japanese() -> None:
    """README.ja.md has the README's commands, manifests, links and headings, one for one."""
    english, japanese = _ROOT / "README.md", _ROOT / "README.ja.md"
    assert _CODE.findall(_text(japanese)) == _CODE.findall(_text(english))
    marks, marks_ja = ([heading.partition(" ")[0] for heading in _headings(page)] for page in (english, japanese))
    assert marks_ja == marks
    links, links_ja = (sorted(_LINK.findall(_text(page))) for page in (english, japanese))
    assert {link for link in links_ja if "README" not in link[0]} == {link for link in links if "README" not in link[0]}
    assert _text(japanese).count("\n|") == _text(english).count("\n|"), "a table has another number of rows"
