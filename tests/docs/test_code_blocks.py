"""Every code block of README.md and of the documents runs as it stands there, page by page, or says why it does not."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pages import ROOT, Block, Page, pages

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN = frozenset({"python", "sh"})
SHOWN = frozenset({"text", "json", "csv", "yaml", "toml", "mermaid"})
"""What is no code: data, drawings, and what commands print."""
MOST_SECONDS = 600
PREPARED = """
python examples/make_phantom_files.py ct scans --train 3 --test 2
napari-medlab project init nodules
napari-medlab project add nodules scans/train
napari-medlab project add nodules scans/test --split test
napari-medlab project import-reference nodules scans/annotations.csv --excluded scans/annotations_excluded.csv
napari-medlab project run nodules
napari-medlab export nodules --format hard --budget 12 --out round-1
napari-medlab train --package round-1 --project nodules --steps 2
napari-medlab models judge nodules
"""
"""How the project of pages that begin with one is made: what the tutorial on nodules does, in small."""


@dataclass
class Reader:
    """Does what a page says, in a folder.

    Parameters
    ----------
    folder : Path
    variables : dict
        Of the page's Python blocks.
    printed : str
        By the last command, or the last block of Python.
    """

    folder: Path
    variables: dict[str, Any] = field(default_factory=dict)
    printed: str = ""

    def do(self, page: Page, block: Block) -> None:
        """Run a block, or hold what it shows against what was printed."""
        if block.language == "sh":
            self.command(block.text, f"{page.name}:{block.line}")
        elif block.language == "python":
            code = compile("\n" * block.line + block.text, str(page.path), "exec")
            with redirect_stdout(io.StringIO()) as printed:
                exec(code, self.variables)  # noqa: S102 - what our own page says
            self.printed = printed.getvalue()
        elif block.is_printed:
            for line in filter(None, block.text.splitlines()):
                pattern = ".*".join(map(re.escape, line.strip().split("…")))
                assert re.search(pattern, self.printed), (
                    f"{page.name}:{block.line}: {line!r} is not in\n{self.printed}"
                )

    def command(self, text: str, where: str) -> None:
        """Run commands by bash, with this environment's programs first on the path."""
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "MEDLAB_STATE_DIR": str(self.folder / ".state"),
            "MEDLAB_CACHE_DIR": str(self.folder / ".cache"),
        }
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text], cwd=self.folder, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=MOST_SECONDS, check=False,
        )  # fmt: skip
        self.printed = done.stdout
        assert done.returncode == 0, f"{where}:\n{text}\n{done.stdout}"


def to_run(page: Page) -> list[Block]:
    """Return the blocks of a page that are run or compared."""
    return [
        block for block in page.blocks if not block.reason and (block.language in RUN or block.is_printed)
    ]


def pages_to_run() -> list[object]:
    return [
        pytest.param(page, id=page.name, marks=[pytest.mark.slow] if page.is_slow else [])
        for page in pages()
        if to_run(page)
    ]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a folder with a small project that was once round the loop, which pages get a copy of."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "examples").symlink_to(ROOT / "examples")
    Reader(folder).command(PREPARED, "the project that pages begin with")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, page: Page
) -> Reader:
    """Return who follows the page, in a folder of the page's own."""
    if page.begins_with:
        shutil.copytree(request.getfixturevalue("prepared"), tmp_path, dirs_exist_ok=True, symlinks=True)
    else:
        (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return Reader(tmp_path)


@pytest.mark.timeout(2 * MOST_SECONDS)
@pytest.mark.parametrize("page", pages_to_run())
def test_a_page_can_be_followed(page: Page, reader: Reader) -> None:
    for block in to_run(page):
        reader.do(page, block)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Page) -> None:
    for block in page.blocks:
        assert block.language in RUN | SHOWN, (
            f"{page.name}:{block.line}: a block of {block.language or 'no language'}"
        )
        assert not (block.reason and block.language not in RUN), (
            f"{page.name}:{block.line}: is not run anyway"
        )
        assert page.begins_with in ("", "nodules"), (
            f"{page.name}: nothing called {page.begins_with} is prepared"
        )


def test_a_wrong_page_is_noticed(tmp_path: Path) -> None:
    page = Page(
        ROOT / "README.md",
        "```sh\nnapari-medlab no-such-verb\n```\n\n<!-- printed -->\n```text\nall is well\n```\n",
    )
    command, printed = to_run(page)
    with pytest.raises(AssertionError, match="no-such-verb"):
        Reader(tmp_path).do(page, command)
    with pytest.raises(AssertionError, match="all is well"):
        Reader(tmp_path, printed="nothing is").do(page, printed)


def test_a_block_that_is_not_run_says_why() -> None:
    page = Page(
        ROOT / "README.md",
        "<!-- not run: needs a display -->\n\n```sh\nmake demo\n```\n\n<!-- not run: -->\n```sh\nx\n```\n",
    )
    assert [block.reason for block in page.blocks] == ["needs a display", ""]
    assert [block.text for block in to_run(page)] == ["x\n"]
