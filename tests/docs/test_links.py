"""No dead links: every relative link of every page leads to a file that is there, every anchor to a heading."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown.extensions.toc import slugify

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(path for folder in ("docs", "sdk", "benchmarks", "deploy") for path in (ROOT / folder).rglob("*.md")),
    ]
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_ELSEWHERE = ("http://", "https://", "mailto:")


def prose(path: Path) -> str:
    """The page without its blocks and spans of code, where brackets mean something else."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "code", text)


def anchors(path: Path) -> set[str]:
    """Of every heading, as GitHub and mkdocs make them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "") for heading in headings]
    return {slugify(heading, "-") for heading in plain}


def test_there_are_pages() -> None:
    assert {"README.md", "docs/README.md", "docs/guides/first-reconstruction.md", "sdk/python/README.md"} <= {
        str(page.relative_to(ROOT)) for page in PAGES
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for target in _LINK.findall(prose(page)):
        if target.startswith(_ELSEWHERE):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists():
            dead.append(target)
        elif anchor and there.suffix == ".md" and anchor not in anchors(there):
            dead.append(f"{target}: there are {sorted(anchors(there))}")
    assert not dead


def test_a_dead_link_would_be_seen(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# The `only` heading\n```\n# no heading\n```\n")
    assert anchors(tmp_path / "there.md") == {"the-only-heading"}
    page = tmp_path / "page.md"
    page.write_text("[a](there.md#the-only-heading)")
    test_links_lead_somewhere(page)
    for wrong in ("[a](nowhere.md)", "[a](there.md#other)", "[a](#other)"):
        page.write_text(wrong)
        with pytest.raises(AssertionError):
            test_links_lead_somewhere(page)
