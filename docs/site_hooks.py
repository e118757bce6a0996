"""For mkdocs, whose settings are in mkdocs.yml: what differs between pages of a site and files of a folder."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")
DECISIONS = "adr/README.md"


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Links that leave docs/ lead nowhere on a site: `[The README](../../README.md)` becomes `The README (README.md)`.

    The page of decisions, which is a folder to be looked into elsewhere, gets a list of them.
    """
    if page.file.src_uri == DECISIONS:
        found = sorted((Path(config.docs_dir) / "adr").glob("[0-9]*.md"))
        markdown += "".join(f"\n- [{path.read_text().splitlines()[0].lstrip('# ')}]({path.name})" for path in found)

    def named(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(page.file.src_uri), link[2]))
        return link[0] if not target.startswith("../") else f"{link[1]} (`{target[3:]}`)"

    return _LINK.sub(named, markdown)
