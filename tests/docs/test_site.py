"""The guides as a site: built without a warning, and nothing of it is loaded from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_is_there_and_has_a_title(site: Path) -> None:
    pages = list((ROOT / "docs").rglob("*.md"))
    assert len(pages) > 20
    for page in pages:
        place = page.relative_to(ROOT / "docs")
        built = site / (place.parent / "index.html" if place.name == "README.md" else place.with_suffix(".html"))
        assert "<h1" in built.read_text(), page


def test_it_works_offline(site: Path) -> None:
    loaded = re.compile(r"""<(?:script|img|iframe)[^>]+src=["']([^"']+)|<link[^>]+href=["']([^"']+)""")
    addresses = {
        next(filter(None, found))
        for page in site.rglob("*.html")
        for found in loaded.findall(page.read_text())
        if not any("canonical" in part for part in found)
    }
    assert any(address.endswith(".css") for address in addresses)
    assert not [address for address in addresses if "//" in address and not address.startswith("data:")]


def test_links_out_of_the_documentation_name_the_file(site: Path) -> None:
    client = (site / "guides" / "python-client.html").read_text()
    assert "<code>sdk/python/README.md</code>" in client
    assert "../../sdk" not in client


def test_the_decisions_are_listed(site: Path) -> None:
    index = (site / "adr" / "index.html").read_text()
    for decision in (ROOT / "docs" / "adr").glob("[0-9]*.md"):
        assert decision.with_suffix(".html").name in index
