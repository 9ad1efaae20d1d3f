"""What the documents say after the code is what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

from pages import ROOT, pages

from napari_medlab.evaluation import CamelyonRule, Luna16Rule, OverlapRule
from napari_medlab.widgets.keys import ACTIONS

if TYPE_CHECKING:
    import pytest

    from napari_medlab.evaluation import MatchRule

SAID = {"hit": "tp", "false positive": "fp", "duplicate": "duplicate", "ignored": "ignored"}


def test_the_reference_of_commands_and_keys_is_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "write_reference.py"), "--check"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nRun scripts/write_reference.py."


def test_the_card_of_keys_has_every_action() -> None:
    card = (ROOT / "docs" / "reference" / "keys.md").read_text(encoding="utf-8")
    assert all(f"| {action.title} |" in card for action in ACTIONS.values())
    assert card.count("<kbd>") >= len(ACTIONS)


def test_the_page_on_matching_says_what_the_rules_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from draw_diagrams import CANDIDATES, CASE, scene

    shapes, findings, candidates = scene()
    rules: list[MatchRule] = [
        Luna16Rule(), OverlapRule(shapes), OverlapRule.pi_cai(shapes), CamelyonRule(shapes)
    ]  # fmt: skip
    page = (ROOT / "docs" / "explanation" / "matching-rules.md").read_text(encoding="utf-8")
    rows = {row[0]: row[1].split("|") for row in re.findall(r"^\| \*\*(\w)\*\*[^|]*\|(.*)\|$", page, re.M)}
    assert set(rows) == set(CANDIDATES)
    for number, rule in enumerate(rules):
        table = rule.match(findings, candidates, [CASE])
        kinds = dict(zip(table.candidate_id.tolist(), table.kind.tolist(), strict=True))
        told = {name: SAID[cells[number].split(":")[0].strip()] for name, cells in rows.items()}
        assert told == {name: kinds[name] for name in rows}, rule


def test_every_page_is_in_the_navigation_and_every_picture_on_a_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    text = "".join(page.text for page in pages())
    for page in pages()[1:]:
        assert page.path.relative_to(ROOT / "docs").as_posix() in navigation, page.name
    for picture in sorted((ROOT / "docs" / "pictures").iterdir()):
        assert f"pictures/{picture.name}" in text, picture.name
