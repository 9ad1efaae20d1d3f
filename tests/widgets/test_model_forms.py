"""The small windows about models: the card, which loads nothing, and the form for what an import lacks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from qtpy.QtCore import QUrl
from qtpy.QtWidgets import QComboBox, QLineEdit

from napari_medlab.errors import InputRefusedError
from napari_medlab.models.bundles import Bundle
from napari_medlab.widgets.panels.model_card import CardBrowser, CardDialog, read_card
from napari_medlab.widgets.panels.model_import import ImportForm, missing_fields, options_from
from napari_medlab.widgets.run_memory import RunChoice, recall_choice, remember_choice

if TYPE_CHECKING:
    from pathlib import Path

    from pytestqt.qtbot import QtBot

SPEC = {
    "name": "m", "task": "detection", "network": {"name": "centre-heatmap", "arguments": {}}, "preprocessing": {},
    "postprocessing": {}, "classes": ["nodule"], "figures": {"cpm": 0.7}, "weights_sha256": "0" * 64,
}  # fmt: skip
LACKING = InputRefusedError(
    "The files of the model do not say all that is needed to use it, and it is not guessed: --task, --classes, "
    "--preprocessing (or --window), --axes, --output.", code="model-incomplete", hint="Give what is missing.",
)  # fmt: skip


def test_a_card_shows_text_and_loads_nothing(qtbot: QtBot, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"x")
    browser = CardBrowser()
    qtbot.addWidget(browser)
    asked: list[str] = []
    browser.anchorClicked.connect(lambda url: asked.append(url.toString()))
    browser.show_card(
        f"# A card\n\n![see]({secret.as_uri()}) <img src='{secret.as_uri()}'> <b>bold</b> "
        f"[a page](https://example.org/)\n\n| figure | value |\n| --- | --- |\n| CPM | 0.7 |\n"
    )
    assert browser.loadResource(2, QUrl(secret.as_uri())) is None
    text = browser.toPlainText()
    assert "A card" in text
    assert "0.7" in text
    assert "<b>bold</b>" in text
    assert not browser.openLinks()
    assert not browser.openExternalLinks()
    assert asked == []


def test_a_card_comes_from_its_file_or_from_the_spec(qtbot: QtBot, tmp_path: Path) -> None:
    bundle = Bundle(tmp_path, SPEC, "ab" * 32)
    assert "cpm" in read_card(bundle)
    (tmp_path / "CARD.md").write_text("# Written by hand", encoding="utf-8")
    assert read_card(bundle) == "# Written by hand"
    dialog = CardDialog(bundle, read_card(bundle))
    qtbot.addWidget(dialog)
    assert dialog.windowTitle() == "About m · abababab"
    assert "Written by hand" in dialog.browser.toPlainText()


def test_a_card_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("somebody's letters", encoding="utf-8")
    (tmp_path / "CARD.md").symlink_to(other)
    assert "letters" not in read_card(Bundle(tmp_path, SPEC, "ab" * 32))


def test_what_an_import_lacks_is_marked_in_the_words_of_the_form(qtbot: QtBot) -> None:
    assert missing_fields(LACKING) == ["task", "classes", "kind", "window", "axes", "output"]
    form = ImportForm("net.pt", {"classes": "nodule", "task": "detection"}, LACKING)
    qtbot.addWidget(form)
    assert "--" not in form.reason.text()
    assert "task, classes, images and window, axes, outputs" in form.reason.text()
    assert form.values == {"classes": "nodule", "task": "detection"}
    axes, kind = form.fields["axes"], form.fields["kind"]
    assert isinstance(axes, QLineEdit)
    assert isinstance(kind, QComboBox)
    axes.setText(" RAS ")
    kind.setCurrentIndex(kind.findData("volume"))
    assert form.values == {"classes": "nodule", "task": "detection", "axes": "RAS", "kind": "volume"}


def test_what_was_typed_becomes_options() -> None:
    options = options_from({
        "name": "mine", "task": "segmentation", "classes": "tumour, cyst", "kind": "slide", "spacing": "2", "axes": "yx",
        "output": "sigmoid", "network": "UNet", "arguments": json.dumps({"channels": [16, 32]}), "window": "0 255",
    })  # fmt: skip
    assert options.classes == ("tumour", "cyst")
    assert options.preprocessing == {"kind": "slide", "spacing_um": 2.0, "window": [0.0, 255.0]}
    assert options.arguments == {"channels": [16, 32]}
    assert (options.name, options.task, options.axes, options.output) == (
        "mine",
        "segmentation",
        "yx",
        "sigmoid",
    )
    assert options_from({"spacing": "3, 1, 1"}).preprocessing == {"spacing_mm": [3.0, 1.0, 1.0]}


@pytest.mark.parametrize(
    "values", [{"spacing": "wide"}, {"window": "a b"}, {"arguments": "{"}, {"arguments": "[1]"}]
)
def test_what_cannot_be_read_is_said_and_asked_again(values: dict[str, str]) -> None:
    with pytest.raises(InputRefusedError) as refused:
        options_from(values)
    assert refused.value.code == "model-incomplete"


def test_device_and_precision_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDLAB_STATE_DIR", str(tmp_path / "state"))
    assert recall_choice() == RunChoice()
    remember_choice(RunChoice("cuda:1", "float32"))
    assert recall_choice() == RunChoice("cuda:1", "float32")
    (tmp_path / "state" / "run.json").write_text("[", encoding="utf-8")
    assert recall_choice() == RunChoice()
