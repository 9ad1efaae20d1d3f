"""The site: links that leave the documents lead to the repository, and nothing is fetched from elsewhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

REPOSITORY = "https://example.org/repo"


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Return what becomes of the text of a page at a place."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from docs_hooks import on_page_markdown

    def shown(place: str, text: str) -> str:
        page: Any = SimpleNamespace(file=SimpleNamespace(src_uri=place))
        config: Any = SimpleNamespace(repo_url=REPOSITORY)
        files: Any = None
        markdown: str = on_page_markdown(text, page, config, files)
        return markdown

    return shown


def test_links_out_of_the_documents_lead_to_the_repository(shown: Callable[[str, str], str]) -> None:
    assert shown("limits.md", "[cards](../models/zoo)") == f"[cards]({REPOSITORY}/blob/main/models/zoo)"
    assert shown("how-to/a.md", "[x](../../examples/x.py)") == f"[x]({REPOSITORY}/blob/main/examples/x.py)"


@pytest.mark.parametrize("link", ["[b](b.md)", "[c](../reference/c.md#d)", "[e](https://example.org)"])
def test_other_links_stay(shown: Callable[[str, str], str], link: str) -> None:
    assert shown("how-to/a.md", link) == link


@pytest.mark.slow
def test_it_is_built_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    mkdocs = Path(sys.executable).with_name("mkdocs")
    if not mkdocs.exists():
        pytest.skip("needs the packages of the group docs")
    done = subprocess.run(
        [mkdocs, "build", "--strict", "--site-dir", tmp_path / "site"], cwd=ROOT, capture_output=True, text=True,
        timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for wanted in ('src="http', 'rel="stylesheet" href="http', "fonts.googleapis", "googletagmanager"):
            assert wanted not in text, f"{page.name}: {wanted}"
    shutil.rmtree(tmp_path / "site")
