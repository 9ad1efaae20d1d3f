"""What mkdocs does to the pages on the way to the site; ``mkdocs.yml`` names this file.

Links that leave ``docs`` are relative, so that they work in a checkout and where the repository is browsed. On the site
they lead to the repository.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

__all__ = ["on_page_markdown"]

LINK = re.compile(r"\]\((?P<target>\.\./[^)\s]+)\)")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a page whose links out of ``docs`` lead to the repository."""
    del files

    def to_repository(match: re.Match[str]) -> str:
        place = posixpath.normpath(
            posixpath.join("docs", posixpath.dirname(page.file.src_uri), match["target"])
        )
        return match[0] if place.startswith("docs/") else f"]({config.repo_url}/blob/main/{place})"

    return LINK.sub(to_repository, markdown)
